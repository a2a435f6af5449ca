"""Which models the audit log watches, and which of their fields.

Only what people decide. Rows that the system writes by itself (the ledger, heartbeats,
roll-ups, messages) are not watched: each change costs a query and a row.
"""

from collections.abc import Mapping
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from auditlog.registry import auditlog
from django.contrib.auth.models import Group
from django.db.models import Model

from controller import models

# That a secret was changed is told, never what it is or was, nor its hash.
HIDDEN = "controller.audit.registration.hidden"
# What the system writes of a worker with each heartbeat is no decision.
WORKER_FIELDS = [
    "address",
    "is_enabled",
    "drain_wished",
    "stop_wished",
    "rotation_wished",
    "weight",
    "labels",
    "is_keyless",
    "join_token",
]
WATCHED: dict[type[Model], dict[str, Any]] = {
    models.User: {
        "exclude_fields": ["last_login", "language"],
        "mask_fields": ["password"],
        "mask_callable": HIDDEN,
        "m2m_fields": {"groups", "user_permissions"},
    },
    Group: {"m2m_fields": {"permissions"}},
    models.Team: {},
    models.Membership: {},
    models.ApiKey: {
        "exclude_fields": [
            "digest",
            "imported_digest",
            "previous_digest",
            "last_used_at",
            "previous_last_used_at",
        ]
    },
    models.Invitation: {"exclude_fields": ["digest"]},
    models.GuestLink: {"exclude_fields": ["digest", "num_guests"]},
    models.JoinToken: {"exclude_fields": ["digest", "used_at"]},
    models.ServedModel: {"m2m_fields": {"teams"}},
    models.ModelAlias: {},
    models.Adapter: {},
    models.Worker: {"include_fields": WORKER_FIELDS},
    models.Limit: {},
    models.LimitRequest: {},
    models.ModerationRule: {},
    models.Ban: {},
    models.Classifier: {"mask_fields": ["encrypted_key"], "mask_callable": HIDDEN},
    models.Announcement: {},
    models.TermsVersion: {},
    models.AllowedOrigin: {},
    EmailAddress: {},
    SocialAccount: {"exclude_fields": ["extra_data", "last_login"]},
    Authenticator: {"exclude_fields": ["data", "last_used_at"]},
}


def watch(watched: Mapping[type[Model], dict[str, Any]]) -> None:
    """Have the changes of all these rows logged; once, when the apps are ready."""
    for model, fields in watched.items():
        # Without a list the library also tells of the rows that refer to this one.
        columns = [field.name for field in model._meta.concrete_fields]
        auditlog.register(model, **{"include_fields": columns} | fields)


def hidden(_value: str) -> str:
    """What stands for a secret's value."""
    return "…"
