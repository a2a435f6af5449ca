"""System checks of what the chat's pages need beside the code."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core import checks
from django.core.checks import CheckMessage, register

# One of them stands for all: they come together or not at all.
PARSER = "chat/vendor/marked/marked.esm.js"


@register()
def third_party_scripts_are_there(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """A warning, and none where no pages of the chat are served."""
    if "chat" not in settings.SERVED_ROLES or finders.find(PARSER):
        return []
    return [
        checks.Warning(
            "The chat's third-party scripts are missing: its pages will not work.",
            hint="`make run` fetches them; without make: pip install -e '.[frontend]',"
            " then python -m deploy.frontend.",
            id="chat.W001",
        )
    ]
