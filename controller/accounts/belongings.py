"""What is somebody's own: every row that goes when their account goes.

Found by walking the models, so that a new kind of row is exported and counted without
anybody remembering to say so here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import QuerySet

from controller.models import User

# Never handed out, to the owner neither: a stolen export must open nothing.
SECRET_WORDS = ("password", "digest", "secret", "session_key", "encrypted")
SECRET_ENDS = ("token", "_hash")
SECRET_FIELDS = {"mfa.authenticator.data", "account.emailconfirmation.key"}


@dataclass(frozen=True, slots=True)
class Belongings:
    """The rows of one model that are somebody's own."""

    model: type[models.Model]
    rows: QuerySet[Any]

    @property
    def name(self) -> str:
        """As files and receipts call them: `controller.apikey`."""
        return self.model._meta.label_lower


def belongings_of(user: User) -> list[Belongings]:
    """The account itself first, then what refers to it, near before far."""
    own = [Belongings(User, User.objects.filter(pk=user.pk))]
    known: set[type[models.Model]] = {User}
    for each in own:  # grows while it is walked
        for relation in cascading(each.model):
            model = relation.related_model
            if model not in known:
                known.add(model)
                own.append(Belongings(model, _rows(model, own)))
    return own


def visible_fields(model: type[models.Model]) -> Iterator["models.Field[Any, Any]"]:
    """The columns that may be shown to the owner."""
    for field in model._meta.concrete_fields:
        is_secret = any(word in field.name for word in SECRET_WORDS)
        is_secret |= field.name.endswith(SECRET_ENDS)
        named = f"{model._meta.label_lower}.{field.name}"
        is_binary = isinstance(field, models.BinaryField)
        if not (is_secret or is_binary or named in SECRET_FIELDS):
            yield field


def cascading(model: type[models.Model]) -> Iterator[Any]:
    """Relations from rows that go together with a row of this model."""
    for relation in model._meta.related_objects:
        if getattr(relation, "on_delete", None) is models.CASCADE:
            yield relation


def _rows(model: type[models.Model], owners: list[Belongings]) -> QuerySet[Any]:
    """The rows of the model that refer to any of these, by whatever field."""
    wanted = models.Q()
    for owner in owners:
        for relation in cascading(owner.model):
            if relation.related_model is model:
                name = relation.field.name
                wanted |= models.Q(**{f"{name}__in": owner.rows.values("pk")})
    return model._default_manager.filter(wanted)
