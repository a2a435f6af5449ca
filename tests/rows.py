"""Rows of any model, made from its fields: for tests that walk all of them."""

import copy
import itertools
import uuid
from datetime import date
from typing import Any

from django.db import models
from django.utils.timezone import now

_numbers = itertools.count(1)


def make_row(model: type[models.Model]) -> models.Model:
    """A row with the least that the model wants; rows that it refers to are made, or
    the first there is is taken."""
    values = {
        field.name: _value(field)
        for field in model._meta.concrete_fields
        if _is_needed(field)
    }
    return model._default_manager.create(**values)


def first_or_new(model: type[models.Model]) -> models.Model:
    return model._default_manager.first() or make_row(model)


def add_copies(row: models.Model, number: int) -> list[models.Model]:
    """So many rows like this one, stored; what must be unique is, and rows that each
    needs for itself are stored with it. A few statements, but for models with a
    parent's table, which take one for each row."""
    model = type(row)
    made = [_copy(row, _distinct(model)) for _ in range(number)]
    for field in _own_relations(row):
        others = add_copies(first_or_new(field.related_model), number)
        for each, other in zip(made, others, strict=True):
            setattr(each, field.name, other)
    if not model._meta.parents:
        return list(model._default_manager.bulk_create(made, batch_size=500))
    for each in made:
        each.save_base(raw=True, force_insert=True)
    return made


def _own_relations(row: models.Model) -> list[Any]:
    """The fields by which no two rows refer to the same other row."""
    model = type(row)
    fields: list[Any] = [model._meta.get_field(name) for name in _distinct(model)]
    related = [
        each for each in fields if each.is_relation and getattr(row, each.attname)
    ]
    return [*related, *model._meta.parents.values()]


def _copy(row: models.Model, distinct: set[str]) -> models.Model:
    new = copy.copy(row)
    new._state = models.base.ModelState()
    for field in row._meta.concrete_fields:
        if field.primary_key:
            is_uuid = isinstance(field, models.UUIDField)
            setattr(new, field.attname, uuid.uuid4() if is_uuid else None)
        elif field.unique and field.null:
            setattr(new, field.attname, None)
        elif field.name in distinct and field.is_relation:
            continue
        elif field.unique or field.name in distinct:
            setattr(new, field.attname, _value(field))
    return new


def _distinct(model: type[models.Model]) -> set[str]:
    """Of each constraint over several fields the one whose values are the easiest to
    make different."""
    together = [
        *model._meta.unique_together,
        *(
            constraint.fields
            for constraint in model._meta.constraints
            if isinstance(constraint, models.UniqueConstraint)
        ),
    ]

    def effort(name: str) -> int:
        field: Any = model._meta.get_field(name)
        return 2 if field.choices else 1 if field.is_relation else 0

    return {min(names, key=effort) for names in together if names}


def _is_needed(field: Any) -> bool:
    has_value = field.has_default() or field.null or field.blank
    return not (has_value or isinstance(field, models.AutoField))


def _value(field: Any) -> Any:
    number = next(_numbers)
    if field.choices:
        return next(iter(field.flatchoices))[0]
    if field.is_relation:
        return first_or_new(field.related_model)
    match field:
        case models.UUIDField():
            return uuid.uuid4()
        case models.BooleanField():
            return False
        case models.DateTimeField():
            return now()
        case models.DateField():
            return date.fromordinal(730_000 + number)
        case models.GenericIPAddressField():
            return "127.0.0.1"
        case models.EmailField():
            return f"row{number}@example.org"
        case models.PositiveSmallIntegerField():
            return number % 100
        case models.IntegerField() | models.FloatField() | models.DecimalField():
            return number
        case models.JSONField():
            return {}
        case _:
            return f"row-{number}"[: field.max_length]
