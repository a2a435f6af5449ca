"""CONTRIBUTING.md shows newcomers to places that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(
    r"`([a-z_]+(?:/[a-z_]+)*/(?:[a-z_]+\.(?:py|md|json|txt)))`",
    (ROOT / "CONTRIBUTING.md").read_text(),
)


def test_the_way_of_a_request_is_told():
    assert {"controller/lean.py", "relay/exchange.py"} <= set(NAMED)


@pytest.mark.parametrize("path", sorted(set(NAMED)))
def test_what_it_names_exists(path: str):
    assert (ROOT / path).exists() or (ROOT / "controller" / path).exists()
