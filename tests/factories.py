"""Rows for tests: each function fills in what does not matter, keywords say the rest.

Those that issue a secret return (row, secret), as the models' `issue` does.
"""

import itertools
import uuid
from collections.abc import Iterable
from typing import Any

from django.utils.timezone import now

from chat.models import Conversation, Message
from controller.guests.links import make_link
from controller.identity import encryption, secrets
from controller.models import (
    Adapter,
    AllowedOrigin,
    ApiKey,
    Ban,
    GuestLink,
    Invitation,
    JoinToken,
    LedgerEntry,
    Membership,
    ModelAlias,
    ModerationFlag,
    ModerationRule,
    Placement,
    Revision,
    ServedModel,
    Team,
    User,
    Worker,
)

_numbers = itertools.count(1)


def make_user(**fields: Any) -> User:
    """A user who may sign in; with `password=` also by the form."""
    fields.setdefault("username", f"user{next(_numbers)}")
    password = fields.pop("password", None)
    user = User(**fields)
    user.set_password(password)
    user.save()
    return user


def make_operator(**fields: Any) -> User:
    """A superuser, who may do everything in the admin."""
    return make_user(**{"is_staff": True, "is_superuser": True} | fields)


def make_team(*members: User, **fields: Any) -> Team:
    fields.setdefault("name", f"team {next(_numbers)}")
    team = Team.objects.create(**fields)
    for user in members:
        Membership.objects.create(team=team, user=user)
    return team


def make_key(user: User | None = None, **fields: Any) -> tuple[ApiKey, str]:
    fields.setdefault("name", f"key {next(_numbers)}")
    return ApiKey.issue(user or make_user(), **fields)


def make_allowed_origin(pattern: str = "", **fields: Any) -> AllowedOrigin:
    """A row of CORS, announced as the console does."""
    pattern = pattern or f"https://app{next(_numbers)}.example.com"
    AllowedOrigin.write_missing([pattern], **fields)
    return AllowedOrigin.objects.get(pattern=pattern)


def make_invitation(**fields: Any) -> tuple[Invitation, str]:
    return Invitation.issue(**fields)


def make_guest_link(**fields: Any) -> tuple[GuestLink, str]:
    """A link without limits unless `limits` has some, announced as the console does."""
    return make_link(**{"limits": {}} | fields)


def make_guest(link: GuestLink, **fields: Any) -> User:
    """A guest of the link, as if they had come by it."""
    assert link.take_place()
    return make_user(guest_link=link, **fields)


def make_join_token(**fields: Any) -> tuple[JoinToken, str]:
    return JoinToken.issue(**fields)


def make_served_model(
    name: str = "", *, aliases: Iterable[str] = (), **fields: Any
) -> ServedModel:
    served_model = ServedModel.objects.create(
        name=name or f"model-{next(_numbers)}", **fields
    )
    for alias in aliases:
        ModelAlias.objects.create(name=alias, served_model=served_model)
    return served_model


def make_adapter(parent: ServedModel | str, name: str = "", **fields: Any) -> Adapter:
    """An enabled adapter of this model, a row or a name (made if missing)."""
    if isinstance(parent, str):
        parent, _ = ServedModel.objects.get_or_create(name=parent)
    name = name or f"adapter-{next(_numbers)}"
    values = {"source": f"/adapters/{name}"} | fields
    return Adapter.objects.create(name=name, parent=parent, **values)


def make_worker(*served_models: ServedModel | str, **fields: Any) -> Worker:
    """A live worker; it serves the models given, rows or names (made if missing)."""
    number = next(_numbers)
    engine_key = fields.pop("engine_key", "engine-key")
    values = {
        "address": f"http://127.0.0.1:{20_000 + number}",
        "resolved_ip": "127.0.0.1",
        "credential_digest": secrets.digest(f"credential {number}"),
        "engine": "mock",
        "engine_version": "1.0",
        "start_id": uuid.uuid4().hex,
        "max_concurrency": 1024,
        "kv_cache_tokens": 65_536,
    }
    worker = Worker(**values | fields)
    worker.engine_key = engine_key
    worker.save()
    for served_model in served_models:
        make_placement(worker, served_model)
    return worker


def make_placement(
    worker: Worker, served_model: ServedModel | str, **fields: Any
) -> Placement:
    if isinstance(served_model, str):
        served_model, _ = ServedModel.objects.get_or_create(name=served_model)
    values = {"tasks": ["chat", "completions"], "context_length": 4096}
    return Placement.objects.create(
        worker=worker, served_model=served_model, **values | fields
    )


def make_ledger_entry(**fields: Any) -> LedgerEntry:
    values = {
        "request_id": uuid.uuid4().hex,
        "face": LedgerEntry.Face.API,
        "endpoint": "/v1/chat/completions",
        "model": "llama-3-8b",
        "status": 200,
        "finish_reason": "stop",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "ttft_seconds": 0.1,
        "duration_seconds": 0.5,
        "overhead_seconds": 0.001,
    }
    return LedgerEntry.objects.create(**values | fields)


def make_moderation_rule(**fields: Any) -> ModerationRule:
    """A rule that blocks `forbidden` unless told otherwise, announced as the console
    does."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "name": f"rule {number}",
        "category": "secrets",
        "action": ModerationRule.Action.BLOCK,
    }
    if "pattern" not in fields:
        values["terms"] = "forbidden"
    rule = ModerationRule(**values | fields)
    rule.full_clean()
    rule.save()
    Revision.bump("moderation")
    return rule


def make_moderation_flag(**fields: Any) -> ModerationFlag:
    """A flag that waits for its verdict, with an `excerpt`."""
    excerpt = fields.pop("excerpt", "about Falcon")
    values: dict[str, Any] = {
        "request_id": uuid.uuid4().hex[:24],
        "face": "api",
        "model": "m",
        "rule_name": "rule",
        "category": "secrets",
        "direction": "input",
        "action": "block",
        "encrypted_excerpt": encryption.encrypt(excerpt),
    }
    return ModerationFlag.objects.create(**values | fields)


def make_ban(user: User, **fields: Any) -> Ban:
    """A ban without an end unless told otherwise, announced as the console does."""
    fields.setdefault("reason", "Spam.")
    ban = Ban.objects.create(user=user, **fields)
    Revision.bump("moderation")
    return ban


def make_rated_answer(user: User, rating: int = 1, **fields: Any) -> Message:
    """An answer in a conversation of the user's own, rated up unless told otherwise."""
    conversation = Conversation.objects.create(user=user, title="t", model="m")
    values: dict[str, Any] = {
        "role": Message.Role.ASSISTANT,
        "content": "an answer",
        "model": "m",
        "rated_at": now(),
    }
    return Message.objects.create(
        conversation=conversation, rating=rating, **values | fields
    )
