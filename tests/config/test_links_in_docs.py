"""Links of the guides lead to files, and to headings of them, that are there."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("chat/frontend/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links_of(page: Path) -> list[str]:
    """What the page links to in this repository."""
    found = (one or other for one, other in LINK.findall(page.read_text()))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@cache
def headings_of(page: Path) -> set[str]:
    """The page's headings, as links name them."""
    text = CODE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.*)$", text.lower(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).replace(" ", "-") for each in headings}


def leads_nowhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return True
    return bool(heading) and heading not in headings_of(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    assert [link for link in links_of(page) if leads_nowhere(page, link)] == []


def test_links_are_found():
    links = links_of(ROOT / "docs" / "chat.md")

    assert "screenshots/chat-light.png" in links
    assert "accounts.md#guests" in links
    assert leads_nowhere(ROOT / "docs" / "chat.md", "accounts.md#nobody")
