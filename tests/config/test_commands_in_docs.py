"""The guides name commands that are there, with flags that they take."""

import re
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
COMMAND = re.compile(r"manage\.py ([a-z_]+)([^`\n#]*)")
FLAG = re.compile(r"--[a-z][a-z-]+")


def commands_of(page: Path) -> list[tuple[str, set[str]]]:
    """Each command that the page names, and the flags behind it."""
    text = page.read_text().replace("\\\n", " ")
    return [(name, set(FLAG.findall(rest))) for name, rest in COMMAND.findall(text)]


@cache
def help_of(command: str) -> str:
    app = get_commands()[command]
    loaded = load_command_class(app, command) if isinstance(app, str) else app
    return loaded.create_parser("manage.py", command).format_help()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_flag_is_there(page: Path):
    named = commands_of(page)

    assert [name for name, _flags in named if name not in get_commands()] == []
    for name, flags in named:
        assert {flag for flag in flags if flag not in help_of(name)} == set(), name


def test_the_commands_of_the_guides_are_found():
    found = {name for page in PAGES for name, _flags in commands_of(page)}

    assert found > {"create_key", "guest_link", "join_token", "purge", "serve"}
