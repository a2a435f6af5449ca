"""What `manage.py check` says about the chat's pages."""

from typing import Any

import pytest
from django.contrib.staticfiles import finders

from chat import checks


def test_third_party_scripts_that_are_missing_are_said_with_the_repair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert checks.third_party_scripts_are_there(None) == []

    monkeypatch.setattr(finders, "find", lambda path: None)

    [warning] = checks.third_party_scripts_are_there(None)
    assert "python -m deploy.frontend" in str(warning.hint)


def test_nothing_is_missing_where_no_page_is_served(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(finders, "find", lambda path: None)
    settings.SERVED_ROLES = ["api"]

    assert checks.third_party_scripts_are_there(None) == []
