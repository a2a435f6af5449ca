from datetime import timedelta
from io import StringIO

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.contrib.auth.hashers import make_password
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils.timezone import now

from controller.accounts import imports
from controller.identity import secrets
from controller.models import ApiKey, Invitation, JoinToken, User, Worker
from tests.factories import make_key, make_team, make_user, make_worker

pytestmark = pytest.mark.django_db


def output(command, *arguments):
    out = StringIO()
    call_command(command, *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_join_token_is_the_last_word():
    secret = output("join_token").split()[-1]

    token = JoinToken.objects.usable().get()
    assert token.digest == secrets.digest(secret)
    assert not token.is_reusable
    assert not token.is_keyless
    assert token.expires_at is None


def test_a_join_token_is_what_the_options_say():
    output(
        *("join_token", "--reusable", "--keyless", "--expires", "1h"),
        *("--networks", "10.0.0.0/8,::1", "--note", "rack 4"),
    )

    token = JoinToken.objects.get()
    assert token.is_reusable
    assert token.is_keyless
    assert (token.networks, token.note) == (["10.0.0.0/8", "::1/128"], "rack 4")
    assert token.expires_at - now() == pytest.approx(
        timedelta(hours=1), abs=timedelta(minutes=1)
    )


@pytest.mark.parametrize(
    ("option", "wrong"), [("--expires", "soon"), ("--networks", "10.0.0.0/33")]
)
def test_a_wrong_option_is_named_and_makes_no_token(option, wrong):
    with pytest.raises(CommandError, match=wrong):
        output("join_token", option, wrong)

    assert not JoinToken.objects.exists()


def test_the_key_is_the_last_word():
    user = make_user(username="ann")

    secret = output("create_key", "--user", "ann", "--name", "laptop").split()[-1]

    key = ApiKey.objects.get()
    assert key.digest == secrets.digest(secret)
    assert (key.user, key.name, key.scopes) == (user, "laptop", ["inference"])
    assert (key.allowed_models, key.max_concurrent, key.expires_at) == (None,) * 3


def test_a_key_is_what_the_options_say():
    make_user(username="ann")

    output(
        *("create_key", "--user", "ann", "--name", "laptop", "--models", "a, b"),
        *("--scopes", "inference,fleet", "--concurrent", "3", "--expires", "1d"),
    )

    key = ApiKey.objects.get()
    assert key.scopes == ["inference", "fleet"]
    assert (key.allowed_models, key.max_concurrent) == (["a", "b"], 3)
    assert key.expires_at > now() + timedelta(hours=23)


def test_a_key_has_the_limits_that_it_is_made_with():
    make_user(username="ann")

    output(
        *("create_key", "--user", "ann", "--name", "laptop", "--rpm", "60"),
        *("--tpm", "9000", "--tokens-per-day", "100000"),
    )

    limits = ApiKey.objects.get().limits
    assert dict(limits.values_list("kind", "amount")) == {
        "requests_per_minute": 60,
        "tokens_per_minute": 9000,
        "tokens_per_day": 100_000,
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--rpm", "0"], "at least 1"),
        (["--tpm", "1000000000000"], "--tpm: '1000000000000': at most 999,999,999,999"),
        (["--concurrent", "2147483648"], "at most 2,147,483,647"),
        (["--name", "n" * 101], "at most 100 characters"),
        (["--user", "nobody"], "no user 'nobody'"),
        (["--scopes", "inference,root"], "No such scope: root"),
        (["--concurrent", "0"], "at least 1"),
        (["--expires", "1w"], "1w"),
        (["--endpoints", "/v1/magic"], "No such endpoint: /v1/magic"),
        (["--networks", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--origins", "https://example.com/"], "nothing after them"),
        (["--publishable"], "Name the sites"),
        (
            ["--publishable", "--origins", "https://a.example", "--scopes", "engine"],
            "only infers",
        ),
    ],
)
def test_a_wrong_option_is_named_and_makes_no_key(options, complaint):
    make_user(username="ann")

    with pytest.raises(CommandError, match=complaint):
        output("create_key", "--user", "ann", "--name", "laptop", *options)

    assert not ApiKey.objects.exists()


def test_a_publishable_key_is_bound_to_what_the_options_say():
    make_user(username="ann")

    secret = output(
        *("create_key", "--user", "ann", "--name", "page", "--publishable"),
        *("--origins", "https://a.example, https://*.b.example"),
        *("--networks", "10.0.0.0/8", "--endpoints", "/v1/chat/completions"),
    ).split()[-1]

    key = ApiKey.objects.get()
    assert secret.startswith("sy-pub-")
    assert key.is_publishable
    assert key.allowed_origins == ["https://a.example", "https://*.b.example"]
    assert key.allowed_networks == ["10.0.0.0/8"]
    assert key.allowed_endpoints == ["/v1/chat/completions"]


@pytest.mark.parametrize("which", ["beginning", "whole", "old beginning", "old whole"])
@pytest.mark.parametrize("is_publishable", [False, True])
def test_a_key_is_revoked_by_either_secret(which, is_publishable):
    sites = ["https://a.example"]
    key, old = make_key(is_publishable=is_publishable, allowed_origins=sites)
    old_prefix, new = key.prefix, key.rotate(timedelta(hours=1))
    other, _ = make_key()

    given = {
        "beginning": key.prefix,
        "whole": new,
        "old beginning": old_prefix,
        "old whole": old,
    }[which]
    output("revoke_key", given)

    assert list(ApiKey.objects.active()) == [other]


LISTS = {
    "commas": "key-of-alice-0123456789, key-of-bob-0123456789",
    "lines": "key-of-alice-0123456789\n\nkey-of-bob-0123456789\n",
    "JSON": '["key-of-alice-0123456789", "key-of-bob-0123456789"]',
    "twice": "key-of-alice-0123456789,key-of-bob-0123456789,key-of-alice-0123456789",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_keys_made_elsewhere_are_taken_over_once(tmp_path, text):
    user = make_user(username="ann")
    file = tmp_path / "keys"
    file.write_text(text)

    first = output("import_keys", str(file), "--user", "ann", "--name", "FastChat")
    ApiKey.objects.get(name="FastChat 1").revoke()
    again = output("import_keys", str(file), "--user", "ann")

    keys = list(ApiKey.objects.order_by("name"))
    assert [(key.user, key.name) for key in keys] == [
        (user, "FastChat 1"),
        (user, "FastChat 2"),
    ]
    assert [key.prefix for key in keys] == ["key-o", "key-o"]  # a quarter of it
    assert keys[0].digest == secrets.digest("key-of-alice-0123456789")
    assert [key.is_active for key in keys] == [False, True]
    assert "2 imported, 0 known already" in first
    assert "0 imported, 2 known already" in again
    assert "alice" not in first + again


def test_a_rotated_out_key_does_not_come_back_with_its_list(tmp_path):
    make_user(username="ann")
    file = tmp_path / "keys"
    file.write_text("key-of-alice-0123456789")
    output("import_keys", str(file), "--user", "ann")
    for _ in range(2):  # the second leaves no trace of it but what was kept for this
        ApiKey.objects.get().rotate(timedelta(0))

    output("import_keys", str(file), "--user", "ann")

    digest = secrets.digest("key-of-alice-0123456789")
    assert ApiKey.objects.count() == 1
    assert not ApiKey.objects.active().opened_by(digest).exists()


def test_short_imported_keys_are_warned_of(tmp_path):
    make_user(username="ann")
    file = tmp_path / "keys"
    file.write_text("EMPTY, key-of-alice-0123456789")

    words = output("import_keys", str(file), "--user", "ann")

    assert "2 imported" in words
    assert "1 are shorter than 20 characters" in words


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fine-key, two words", "Number 2 of the list"),
        ("sch\u00f6n", "Number 1 of the list"),
        ("k" * 513, "Number 1 of the list"),
        ('["a", 1]', "Number 2 of the list"),
        ('["a,b"]', "Number 1 of the list"),
        ('["a"', "delimiter"),
    ],
)
def test_a_wrong_list_of_keys_imports_none_and_shows_none(tmp_path, text, complaint):
    make_user(username="ann")
    file = tmp_path / "keys"
    file.write_text(text)

    with pytest.raises(CommandError, match=complaint) as caught:
        output("import_keys", str(file), "--user", "ann")

    assert "two words" not in str(caught.value)
    assert not ApiKey.objects.exists()


def test_an_unreadable_list_of_keys_is_named(tmp_path):
    make_user(username="ann")

    with pytest.raises(CommandError, match="nowhere cannot be read"):
        output("import_keys", str(tmp_path / "nowhere"), "--user", "ann")


def test_an_unknown_or_ambiguous_beginning_revokes_nothing():
    first, second = make_key()[0], make_key()[0]

    with pytest.raises(CommandError, match="No API key begins with 'sy-nothing'"):
        output("revoke_key", "sy-nothing")
    with pytest.raises(CommandError, match="More than one") as caught:
        output("revoke_key", "sy-")

    assert first.prefix in str(caught.value)
    assert second.prefix in str(caught.value)
    assert ApiKey.objects.active().count() == 2


def test_an_invitations_link_is_the_last_word(client, settings):
    settings.PUBLIC_URL = "https://switchyard.example"

    link = output("invite", "--email", "ann@example.org").split()[-1]

    assert link.startswith("https://switchyard.example/accounts/signup/?invitation=")
    assert Invitation.objects.get().email == "ann@example.org"
    page = client.get(link.removeprefix("https://switchyard.example"))
    assert b"password1" in page.content


def test_an_invitation_to_no_address_is_refused():
    with pytest.raises(CommandError, match="--email"):
        output("invite", "--email", "ann")

    assert not Invitation.objects.exists()


def test_rotated_engine_keys_need_the_first_key_only(settings):
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    settings.FIELD_KEYS = [old]
    make_worker(engine_key="secret of the engine")
    make_worker(engine_key="")

    settings.FIELD_KEYS = [new, old]
    assert "Encrypted anew: 1" in output("rotate_field_keys")

    settings.FIELD_KEYS = [new]
    assert {worker.engine_key for worker in Worker.objects.all()} == {
        "secret of the engine",
        "",
    }


def test_an_unreadable_engine_key_is_named_and_the_others_are_rotated(settings):
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    lost = make_worker(engine_key="lost")
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    settings.FIELD_KEYS = [old]
    readable = make_worker(engine_key="readable")

    settings.FIELD_KEYS = [new, old]
    with pytest.raises(CommandError, match=lost.address):
        output("rotate_field_keys")

    settings.FIELD_KEYS = [new]
    readable.refresh_from_db()
    assert readable.engine_key == "readable"
    with pytest.raises(InvalidToken):
        _ = Worker.objects.get(pk=lost.pk).engine_key


def test_fastchats_accounts_are_taken_over_with_hashed_passwords(tmp_path):
    make_user(username="there", password="kept")
    file = tmp_path / "auth.txt"
    file.write_text(
        "ann:correct horse,bob:with:colons\nthere:stolen, :x\nno pair\nDo Ra:x"
    )

    said = output("import_accounts", str(file))

    ann, bob = User.objects.get(username="ann"), User.objects.get(username="bob")
    assert ann.check_password("correct horse")
    assert bob.check_password("with:colons")
    assert "correct horse" not in ann.password
    assert User.objects.get(username="there").check_password("kept")
    assert "2 accounts made, 4 skipped." in said
    assert "there: an account of this name is there already" in said
    assert "Do Ra: Enter a valid username" in said
    assert ".." not in said
    assert "stolen" not in said


@pytest.mark.django_db(transaction=True)
def test_passwords_are_hashed_before_the_database_is_held(tmp_path, monkeypatch):
    held = []

    def hashed(password):
        held.append(connection.in_atomic_block)
        return make_password(password)

    monkeypatch.setattr(imports, "make_password", hashed)
    file = tmp_path / "auth.txt"
    file.write_text("ann:one,bob:two,ann:three")

    said = output("import_accounts", str(file))

    assert held == [False, False, False]
    assert User.objects.get(username="ann").check_password("one")
    assert "2 accounts made, 1 skipped." in said


def test_imported_accounts_join_the_team_and_weak_passwords_are_named(tmp_path):
    team = make_team(name="research")
    file = tmp_path / "auth.txt"
    file.write_text("ann:123")

    said = output("import_accounts", str(file), "--team", "research")

    assert team.members.get().username == "ann"
    assert "to be changed soon: ann" in said
    assert "123" not in said
    with pytest.raises(CommandError, match="no team 'other'"):
        output("import_accounts", str(file), "--team", "other")
