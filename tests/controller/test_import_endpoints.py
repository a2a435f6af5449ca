import json
import stat
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from controller.identity import secrets
from controller.models import JoinToken, ServedModel
from workers.endpoints import read_endpoints

pytestmark = pytest.mark.django_db

OPENAI = {
    "model_name": "gpt-4o-2024-08-06",
    "api_type": "openai",
    "api_base": "https://127.0.0.1/v1",
    "api_key": "sk-secret",
    "anony_only": False,
}


@pytest.fixture
def var_dir(settings, tmp_path) -> Path:
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()
    return settings.VAR_DIR


@pytest.fixture
def run(var_dir, tmp_path):
    """Import these entries; the command's words come back."""

    def import_entries(entries, *flags):
        file = tmp_path / "api_endpoints.json"
        file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        out = StringIO()
        call_command("import_endpoints", str(file), *flags, stdout=out, stderr=out)
        return out.getvalue()

    return import_entries


def written(var_dir):
    return read_endpoints(var_dir / "endpoints/endpoints.json")


def test_an_entry_is_served_under_its_name_by_the_providers(run, var_dir):
    words = run({"gpt-4o": OPENAI})

    [endpoint] = written(var_dir)
    assert endpoint.upstream == "https://127.0.0.1/v1"
    assert endpoint.key == "sk-secret"
    [model] = endpoint.models
    assert (model.name, model.upstream_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert "python -m workers.api_worker --endpoints" in words
    assert "sk-secret" not in words


def test_keys_and_tokens_are_for_their_owner_alone(run, var_dir):
    run({"gpt-4o": OPENAI})

    folder = var_dir / "endpoints"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_entries_of_one_account_are_one_endpoint(run, var_dir):
    run(
        {
            "a": OPENAI,
            "b": OPENAI | {"model_name": None},
            "other-key": OPENAI | {"api_key": "sk-other"},
            "other-body": OPENAI | {"extra_body": {"seed": 1}},
            "vision": OPENAI | {"vision-arena": True},
        }
    )

    shapes = [
        ([model.name for model in endpoint.models], endpoint.modalities)
        for endpoint in written(var_dir)
    ]
    assert shapes == [
        (["a", "b"], ["text"]),
        (["other-key"], ["text"]),
        (["other-body"], ["text"]),
        (["vision"], ["text", "image"]),
    ]


def test_a_server_without_a_key_gets_a_keyless_join_token(run, var_dir):
    run({"keyed": OPENAI, "open": OPENAI | {"api_key": "EMPTY"}})

    keyed, keyless = written(var_dir)
    assert keyless.key == ""
    tokens = {
        endpoint.name: JoinToken.objects.get(
            digest=secrets.digest(Path(endpoint.join_token_file).read_text().strip())
        )
        for endpoint in (keyed, keyless)
    }
    assert not tokens[keyed.name].is_keyless
    assert tokens[keyless.name].is_keyless
    assert all(token.is_reusable for token in tokens.values())


def test_importing_again_keeps_tokens_that_are_still_good(run, var_dir):
    run({"a": OPENAI})
    run({"a": OPENAI})
    assert JoinToken.objects.count() == 1

    JoinToken.objects.get().revoke()
    run({"a": OPENAI})

    assert JoinToken.objects.usable().count() == 1


def test_a_missing_key_and_address_are_where_fastchat_found_them(
    run, var_dir, monkeypatch
):
    monkeypatch.setenv("MISTRAL_API_KEY", "from the environment")

    run({"large": {"api_type": "mistral", "model_name": "mistral-large-latest"}})

    [endpoint] = written(var_dir)
    assert endpoint.upstream == "https://api.mistral.ai/v1"
    assert endpoint.key == "from the environment"


def test_providers_with_an_api_of_their_own_are_named_with_it(
    run, var_dir, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "of anthropic")
    monkeypatch.setenv("GEMINI_API_KEY", "of google")

    words = run(
        {
            "claude": {"api_type": "anthropic_message", "model_name": "claude-opus-5"},
            "haiku": {"api_type": "anthropic", "model_name": "claude-haiku-5"},
            "gemini-pro": {"api_type": "gemini"},
            "gemini-flash": {"api_type": "gemini_no_stream", "api_key": "another"},
            "proxied": {
                "api_type": "anthropic_message",
                "api_base": "http://proxy.lan/anthropic",
            },
        }
    )

    claude, *geminis, proxied = written(var_dir)
    assert [model.name for model in claude.models] == ["claude", "haiku"]
    assert (claude.speaks, claude.key) == ("anthropic", "of anthropic")
    assert [gemini.speaks for gemini in geminis] == ["gemini", "gemini"]
    assert [gemini.key for gemini in geminis] == ["of google", "another"]
    assert (proxied.speaks, proxied.upstream) == (
        "anthropic",
        "http://proxy.lan/anthropic",
    )
    assert "ALLOWED_WORKER_NETWORKS" not in words  # their worker calls them
    assert not JoinToken.objects.filter(is_keyless=True).exists()


def test_what_was_for_battles_alone_is_disabled(run):
    run({"secret-model": OPENAI | {"anony_only": True}, "plain": OPENAI})

    [model] = ServedModel.objects.all()
    assert (model.name, model.is_enabled) == ("secret-model", False)


def test_a_provider_outside_of_the_allowed_networks_is_said_with_the_setting(run):
    words = run({"a": OPENAI | {"api_base": "https://93.184.216.34/v1"}})

    assert "ALLOWED_WORKER_NETWORKS" in words


def test_what_is_not_taken_over_is_said(run):
    words = run(
        {"a": OPENAI | {"recommended_config": {"top_p": 1}, "text-arena": True, "x": 1}}
    )

    assert "recommended_config is not taken over" in words
    assert "unknown and not taken over: x" in words


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"api_type": "cohere"}, "'cohere' is none of openai"),
        ({"api_type": "gemini", "api_key": "EMPTY"}, "gemini wants a key"),
        ({"api_base": "api.openai.com"}, "https://host/v1"),
        ({"api_key": None}, "OPENAI_API_KEY is not set"),
        ({"api_type": 5}, "api_type"),
    ],
)
def test_what_cannot_be_served_is_named_and_nothing_is_written(
    run, var_dir, monkeypatch, entry, complaint
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    entries = {"good": OPENAI, "bad": OPENAI | entry}

    with pytest.raises(CommandError, match=complaint):
        run(entries)
    assert not list(var_dir.iterdir())

    assert complaint in run(entries, "--skip-unusable")
    assert [model.name for each in written(var_dir) for model in each.models] == [
        "good"
    ]


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', "{}"])
def test_what_is_no_such_file_is_refused(run, content):
    with pytest.raises(CommandError):
        run(content)
