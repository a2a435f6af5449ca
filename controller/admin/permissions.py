"""Permissions as people read them: their names in the database are English."""

from typing import Any

from django.contrib.auth.models import Permission
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# What Django writes for each model: (how its code begins, its name in words).
DEFAULTS = {
    "add": _("Can add %(model)s"),
    "change": _("Can change %(model)s"),
    "delete": _("Can delete %(model)s"),
    "view": _("Can view %(model)s"),
}


def in_words(permission: Permission) -> str:
    """What it allows, below the name of its app, in the reader's language."""
    kind = permission.content_type
    model = kind.model_class()
    action, _sep, name = permission.codename.partition("_")
    if model is None or action not in DEFAULTS or name != kind.model:
        return f"{kind.app_labeled_name} | {gettext(permission.name)}"
    words = DEFAULTS[action] % {"model": model._meta.verbose_name}
    return f"{model._meta.app_config.verbose_name} | {words}"


class PermissionsInWords:
    """A page of the admin with a field of permissions."""

    def formfield_for_manytomany(self, *args: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(*args, **kwargs)  # type: ignore[misc]
        if field is not None and field.queryset.model is Permission:
            field.label_from_instance = in_words
        return field
