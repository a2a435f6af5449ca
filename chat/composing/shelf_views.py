"""Presets and saved prompts as the chat page's script reads them."""

from typing import Any

from django.http import HttpRequest, JsonResponse

from chat.composing.answering import answering, body_of, user_of
from chat.composing.models import Preset, SavedPrompt, Shared
from chat.composing.pages import setup_fields
from chat.composing.shelf_forms import OWN, PresetForm
from chat.errors import SetupRefused

SITE = "site"


@answering("GET")
def shelves(request: HttpRequest) -> JsonResponse:
    """All that this user may use; two queries."""
    user = user_of(request)
    presets = Preset.objects.usable_by(user).select_related("team")
    prompts = SavedPrompt.objects.usable_by(user).select_related("team")
    return JsonResponse(
        {
            "presets": [preset_fields(each) for each in presets],
            "prompts": [shared_fields(each) | {"text": each.text} for each in prompts],
        }
    )


@answering("POST")
def add_preset(request: HttpRequest) -> JsonResponse:
    """Keep what stands in the page's panel as one of the user's own presets; 201."""
    given = body_of(request) | {"shelf": OWN}
    form = PresetForm(user_of(request), Preset(), given)
    if not form.is_valid():
        fields = {name: str(errors[0]) for name, errors in form.errors.items()}
        raise SetupRefused(fields)
    return JsonResponse(preset_fields(form.save()), status=201)


def preset_fields(preset: Preset) -> dict[str, Any]:
    setup = setup_fields(preset.setup)
    return shared_fields(preset) | {"model": preset.model, "setup": setup}


def shared_fields(row: Shared) -> dict[str, Any]:
    """What is the same of both; `shelf` is `own`, `site`, or the team's name."""
    is_own, team = row.user_id is not None, row.team
    shelf = OWN if is_own else team.name if team else SITE
    kind = "own" if is_own else "team" if team else "site"
    return {"id": row.pk, "name": row.name, "kind": kind, "shelf": shelf}
