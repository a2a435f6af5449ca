"""The roles of staff: groups with the permissions that their work takes.

An *operator* looks after everything in the console, but hands out no powers: that is a
superuser's. An *auditor* reads all of it, changes nothing, and reads no text of people
unless a superuser grants `view_message_text`. Owners of teams and users are no staff:
what is theirs is on the site's own pages.
"""

from typing import Any

from auditlog.context import disable_auditlog
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.db.models.signals import post_migrate

OPERATORS, AUDITORS = "Operators", "Auditors"
# Of other apps, what the console looks after.
LOOKED_AFTER = (
    ("mfa", "authenticator"),
    ("socialaccount", "socialaccount"),
    ("usersessions", "usersession"),
    ("chat", "preset"),
    ("chat", "savedprompt"),
    ("chat", "sharedlink"),
)
# Read by both, changed by nobody or by superusers alone.
READ = (
    ("auditlog", "logentry"),
    ("auth", "group"),
    ("chat", "comparison"),
    ("chat", "message"),  # their ratings: the console shows no more
)


def ensure_roles(using: str = "default", **_signal: Any) -> None:
    """Make the groups, and give them what they lack; nothing is taken from them.

    Receiver of `post_migrate`: new models come with new permissions.
    """
    with disable_auditlog():  # each migration would tell of what nobody decided
        for name, permissions in (
            (OPERATORS, _changeable(using) | _readable(using)),
            (AUDITORS, _readable(using)),
        ):
            group, _is_new = Group.objects.using(using).get_or_create(name=name)
            group.permissions.add(*permissions.exclude(group=group))


def _changeable(using: str) -> QuerySet[Permission]:
    return Permission.objects.using(using).filter(_of(LOOKED_AFTER) | _ours())


def _readable(using: str) -> QuerySet[Permission]:
    """The permissions to see each kind of row; not the one to read people's texts."""
    to_see = Q()
    for app, model in [*LOOKED_AFTER, *READ]:
        to_see |= Q(content_type__app_label=app, codename=f"view_{model}")
    for model_class in apps.get_app_config("controller").get_models():
        name = model_class._meta.model_name
        to_see |= Q(content_type__app_label="controller", codename=f"view_{name}")
    return Permission.objects.using(using).filter(to_see)


def _of(models: tuple[tuple[str, str], ...]) -> Q:
    wanted = Q()
    for app, model in models:
        wanted |= Q(content_type__app_label=app, content_type__model=model)
    return wanted


def _ours() -> Q:
    return Q(content_type__app_label="controller")


def connect(sender: Any) -> None:
    post_migrate.connect(
        ensure_roles, sender=sender, dispatch_uid="controller.ensure_roles"
    )
