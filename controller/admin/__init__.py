"""The operators' console: Django's admin under django-unfold.

One module for each thing that operators look after; importing them registers them.
"""

from controller.admin import (
    adapters,
    allowed_origins,
    api_keys,
    audit,
    bans,
    budget_alerts,
    classifiers,
    engine_starts,
    flags,
    guest_links,
    invitations,
    join_tokens,
    ledger,
    limit_requests,
    limits,
    moderation,
    notices,
    people,
    served_models,
    sign_ins,
    site,
    workers,
)

__all__ = [
    "adapters",
    "allowed_origins",
    "api_keys",
    "audit",
    "bans",
    "budget_alerts",
    "classifiers",
    "engine_starts",
    "flags",
    "guest_links",
    "invitations",
    "join_tokens",
    "ledger",
    "limit_requests",
    "limits",
    "moderation",
    "notices",
    "people",
    "served_models",
    "sign_ins",
    "site",
    "workers",
]
