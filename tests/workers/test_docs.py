"""The guides keep to what is there: every flag and command that they name exists."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests import engines

ROOT = Path(__file__).resolve().parents[2]
WORKERS_PAGE = (ROOT / "docs/workers.md").read_text()
PAGES = WORKERS_PAGE + (ROOT / "docs/from-fastchat.md").read_text()
OWN_ENGINE = ("vllm_worker", "model_worker")
FLAG = re.compile(r"--[a-z][a-z-]+")


def help_of(module: str) -> str:
    return output_of("-m", f"workers.{module}", "--help")


@cache
def output_of(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def commands_in_blocks(start: str) -> list[tuple[str, set[str]]]:
    """Return what follows `start` on the page's command lines, and the flags there."""
    blocks = re.findall(r"^```sh\n(.*?)^```", WORKERS_PAGE, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.search(rf"{re.escape(start)}(\w+)([^#]*)", line) for line in lines]
    return [(each[1], set(FLAG.findall(each[2]))) for each in found if each]


def flags_in_table(number: int) -> set[str]:
    """The flags that begin the rows of the page's table of that number, from 0."""
    tables = re.findall(r"(?:^\|.*\n)+", WORKERS_PAGE, re.MULTILINE)
    cells = [row.split("|")[1] for row in tables[number].splitlines()]
    return {flag for cell in cells for flag in FLAG.findall(cell)}


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
    modules = set(re.findall(r"workers\.(?!md\b)([a-z_]+)", PAGES))

    for name in commands - {"migrate"}:  # Django's own
        assert (ROOT / f"controller/management/commands/{name}.py").exists(), name
    for name in modules:
        assert (ROOT / f"workers/{name}.py").exists(), name


def test_every_command_line_has_flags_that_there_are() -> None:
    of_workers = commands_in_blocks("python -m workers.")
    of_manage = commands_in_blocks("python manage.py ")

    assert {module for module, _ in of_workers} > {
        "check",
        "api_worker",
        "model_worker",
    }
    for module, flags in of_workers:
        if module != "vllm_worker":  # its engine's flags, too: below
            assert not {flag for flag in flags if flag not in help_of(module)}, module
    assert {command for command, _ in of_manage} > {"join_token", "workers"}
    for command, flags in of_manage:
        said = output_of("manage.py", command, "--help")
        assert not {flag for flag in flags if flag not in said}, command


@pytest.mark.engine
def test_every_flag_of_vllm_is_one_of_the_installed_vllm() -> None:
    page = WORKERS_PAGE.partition("\n## vLLM\n")[2].partition("\n## ")[0]
    # Of a host that has no worker of ours, of ray, and of join_token.
    others = {"--headless", "--address", "--block", "--head", "--reusable"}
    ask = ("-m", "workers.vllm_worker", "--engine-python", str(engines.VLLM_PYTHON))

    known = help_of("vllm_worker") + output_of(*ask, "--help=all")

    flags = set(FLAG.findall(page)) - others - {"--help"}
    assert len(flags) > 25
    assert not {flag for flag in flags if flag not in known}
