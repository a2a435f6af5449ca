"""The guides keep to what is there: every flag and command that they name exists."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKERS_PAGE = (ROOT / "docs/workers.md").read_text()
PAGES = WORKERS_PAGE + (ROOT / "docs/from-fastchat.md").read_text()
OWN_ENGINE = ("vllm_worker", "model_worker")


@cache
def help_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"workers.{module}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def flags_in_table(number: int) -> set[str]:
    """The flags that begin the rows of the page's table of that number, from 0."""
    tables = re.findall(r"(?:^\|.*\n)+", WORKERS_PAGE, re.MULTILINE)
    cells = [row.split("|")[1] for row in tables[number].splitlines()]
    return {flag for cell in cells for flag in re.findall(r"--[a-z][a-z-]+", cell)}


@pytest.mark.parametrize(
    ("table", "modules"),
    [(1, (*OWN_ENGINE, "api_worker")), (2, OWN_ENGINE), (4, ("api_worker",))],
)
def test_every_flag_of_a_table_is_one(table: int, modules: tuple[str, ...]) -> None:
    flags = flags_in_table(table)

    assert len(flags) > 5
    for module in modules:
        assert not {flag for flag in flags if flag not in help_of(module)}, module


def test_every_command_and_module_is_there() -> None:
    commands = set(re.findall(r"manage\.py ([a-z_]+)", PAGES))
    modules = set(re.findall(r"workers\.([a-z_]+)", PAGES))

    for name in commands:
        assert (ROOT / f"controller/management/commands/{name}.py").exists(), name
    for name in modules:
        assert (ROOT / f"workers/{name}.py").exists(), name
