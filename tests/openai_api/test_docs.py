"""`docs/api.md` leaves out no address, no field and no error."""

import re
from collections.abc import Iterator

import pytest
from django.conf import settings

from controller import errors
from openai_api import bodies, views
from openai_api.cors import EXPOSED
from openai_api.urls import endpoints

PAGE = (settings.BASE_DIR / "docs" / "api.md").read_text()
NAMED = frozenset(re.findall(r"`([^`\n]+)`", PAGE))


def codes(error: type[errors.SwitchyardError]) -> Iterator[str]:
    """Of an error and its kinds; the chat page has some of its own."""
    if not error.__module__.startswith("chat."):
        yield error.code
    for kind in error.__subclasses__():
        yield from codes(kind)


def test_every_address_is_described():
    shown = {"<path:name>": "{name}", "<str:request_id>": "{id}"}
    paths = {
        re.sub("<.*>", lambda found: shown[found[0]], str(each.pattern))
        for each in endpoints
    }

    assert {path for path in paths if f"/v1/{path}`" not in PAGE} == set()


@pytest.mark.parametrize("view", views.RelayView.__subclasses__())
def test_every_field_is_described(view: type[views.RelayView]):
    kind = view.body_type
    fields = bodies.known_names(kind) | kind.passed

    assert fields <= NAMED


def test_what_is_ignored_or_needs_a_scope_is_named():
    named_too = bodies.IGNORED | bodies.ENGINE_CONTROLS

    assert named_too <= NAMED


def test_pages_may_read_every_header_that_is_described():
    rows = re.findall(r"^\| `((?:x-|retry-)[a-z-]+)` \|", PAGE, re.MULTILINE)

    assert set(rows) - {"x-switchyard-queue-deadline"} <= set(EXPOSED.split(", "))


def test_every_kind_of_error_is_described():
    assert set(codes(errors.SwitchyardError)) <= NAMED
