"""Every address of the console, found by walking its URLs, and rows to show there."""

import re
from collections.abc import Iterator
from typing import Any

from allauth.mfa.totp.internal.auth import TOTP
from django.contrib import admin
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver

from chat.models import Comparison
from controller.models import JoinToken, Limit, Worker
from tests.factories import (
    make_adapter,
    make_allowed_origin,
    make_join_token,
    make_key,
    make_ledger_entry,
    make_moderation_rule,
    make_rated_answer,
    make_team,
    make_user,
    make_worker,
)
from tests.rows import first_or_new

# The door itself, and what belongs to each person who is in: their own password.
OWN = {"login", "logout", "password_change", "password_change_done"}


def make_everything() -> None:
    """At least one row of each kind that the console lists."""
    user = make_user(username="somebody")
    make_key(user)
    make_team(user)
    worker = make_worker("llama")
    make_adapter("llama")
    make_ledger_entry(user=user, worker=worker)
    make_join_token()
    make_allowed_origin()
    make_moderation_rule()
    make_rated_answer(user)
    Comparison.objects.create(
        user=user, answers=[], parameters=[], model_names=["llama", "mock"]
    )
    Limit.put(Limit.Kind.TOKENS_PER_DAY, 1000, user_id=user.pk)
    TOTP.activate(user, "JBSWY3DPEHPK3PXP")
    for model in admin.site._registry:
        first_or_new(model)


def addresses() -> Iterator[tuple[str, str]]:
    """(name, address) of every page below /admin/; a row's is that of the first one."""
    for pattern, route, model in _walk(get_resolver().url_patterns, ""):
        # Without a name: the door, and Django's redirects of old addresses.
        if route.startswith("admin/") and pattern.name and pattern.name not in OWN:
            yield pattern.name, "/" + _filled(route, model)


def _walk(
    patterns: list[Any], prefix: str, model: type[models.Model] | None = None
) -> Iterator[tuple[URLPattern, str, type[models.Model] | None]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern).lstrip("^").rstrip("$")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route, _model_at(route) or model)
        else:
            yield pattern, route, model


def _model_at(route: str) -> type[models.Model] | None:
    for model in admin.site._registry:
        if route == f"admin/{model._meta.app_label}/{model._meta.model_name}/":
            return model
    return None


def _filled(route: str, model: type[models.Model] | None) -> str:
    """The route with the first row's key in the place of its argument."""
    key = str(model._default_manager.values_list("pk", flat=True)[0]) if model else "1"
    route = route.replace(r"\.", ".").replace("(?P<kind>csv|jsonl)", "csv")
    for argument, found in _fleet_arguments().items():
        route = route.replace(argument, found)
    route = re.sub(r"\(\?P<app_label>(\w+)[^)]*\)", r"\1", route)
    return re.sub(r"<[^>]+>", key, route)


def _fleet_arguments() -> dict[str, str]:
    """What stands in the addresses of the fleet's own pages."""
    return {
        "<uuid:worker_id>": str(Worker.objects.values_list("pk", flat=True)[0]),
        "<int:token_id>": str(JoinToken.objects.values_list("pk", flat=True)[0]),
        "<slug:name>": "drain",
    }


def actions() -> Iterator[tuple[str, str, str]]:
    """(list's address, the action's name, a row's id) of every action of every list."""
    for model, page in admin.site._registry.items():
        row = model._default_manager.first()
        names = [name for _function, name, _words in page._get_base_actions()]
        where = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for name in names:
            yield where, name, str(row.pk)
