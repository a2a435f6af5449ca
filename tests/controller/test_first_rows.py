"""The flags of `serve` that write rows once."""

from argparse import ArgumentParser

import pytest
from django.core.management import CommandError

from controller.management.first_rows import add_first_rows, write_first_rows
from controller.models import AllowedOrigin, ApiKey, Revision
from tests.factories import make_allowed_origin, make_operator

pytestmark = pytest.mark.django_db


def written(*flags: str) -> str:
    """What `serve` says of its rows with these flags."""
    parser = ArgumentParser()
    add_first_rows(parser)
    lines: list[str] = []
    write_first_rows(vars(parser.parse_args(flags)), lines.append)
    return "\n".join(lines)


def test_without_the_flags_nothing_is_written_or_said():
    assert written() == ""
    assert not AllowedOrigin.objects.exists()


@pytest.mark.parametrize(
    "origins",
    [
        "https://a.example,https://*.b.example",
        '["https://a.example", "https://*.b.example"]',
    ],
)
def test_origins_are_written_as_the_flags_say(origins):
    before = Revision.current().origins
    said = written(
        *("--allowed-origins", origins, "--allowed-methods", "get,POST"),
        *("--allowed-headers", '["Authorization"]', "--allow-credentials"),
    )

    rows = list(AllowedOrigin.objects.all())
    assert [row.pattern for row in rows] == [
        "https://*.b.example",
        "https://a.example",
    ]
    assert rows[0].methods == ["GET", "POST"]
    assert rows[0].headers == ["Authorization"]
    assert rows[0].allows_credentials
    assert "written: https://a.example, https://*.b.example" in said
    assert Revision.current().origins > before


def test_fastchats_own_flags_allow_everybody_without_credentials():
    written("--allowed-origins", '["*"]', "--allowed-methods", '["*"]')

    row = AllowedOrigin.objects.get()
    assert (row.pattern, row.methods, row.headers) == ("*", ["*"], ["*"])
    assert not row.allows_credentials


def test_a_row_that_is_there_stays_as_the_console_has_it():
    make_allowed_origin("https://a.example", methods=["GET"])

    said = written("--allowed-origins", "https://a.example,https://b.example")

    assert AllowedOrigin.objects.get(pattern="https://a.example").methods == ["GET"]
    assert "written: https://b.example." in said
    assert "left as the console has them: https://a.example" in said


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--allowed-origins", "https://a.example,example.com"], "example.com"),
        (["--allowed-origins", "null"], "sandboxed frames"),
        (["--allowed-origins", "*", "--allow-credentials"], "act as its visitor"),
        (["--allowed-origins", "*", "--allowed-methods", "GET POST"], "GET POST"),
        (["--allowed-origins", "*", "--allowed-headers", "a:b"], "a:b"),
    ],
)
def test_wrong_flags_are_named_and_write_nothing(flags, complaint):
    with pytest.raises(CommandError, match="--allowed-origins") as caught:
        written(*flags)

    assert complaint in str(caught.value)
    assert not AllowedOrigin.objects.exists()


@pytest.mark.parametrize("wrong", ['["https://a.example"', "[1]"])
def test_what_is_no_json_list_is_said(wrong, capsys):
    with pytest.raises(SystemExit):
        written("--allowed-origins", wrong)

    assert "no JSON list" in capsys.readouterr().err


def test_keys_of_a_file_are_the_first_operators(tmp_path):
    file = tmp_path / "keys"
    file.write_text("key-of-alice-0123456789")
    with pytest.raises(CommandError, match="bootstrap"):
        written("--api-keys-file", str(file))
    operator = make_operator()
    make_operator()

    said = [written("--api-keys-file", str(file)) for _ in range(2)]

    assert ApiKey.objects.get().user == operator
    assert "1 imported, 0 known already" in said[0]
    assert "0 imported, 1 known already" in said[1]
