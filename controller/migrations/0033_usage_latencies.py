"""How long answers took, counted by length, in the usage by hour and by day.

All columns by one operation: Django would build the models of the whole site anew
before each of them.
"""

from collections.abc import Iterator
from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TABLES = ("UsageHour", "UsageDay")
COLUMNS = [
    f"{what}_{number}"
    for what in ("ttft_count", "duration_count")
    for number in range(18)
]


def column() -> "models.PositiveIntegerField[Any, Any]":
    return models.PositiveIntegerField(null=True)  # processes of before write none


def columns(apps: StateApps) -> Iterator[tuple[Any, Any]]:
    """(model, field) of each."""
    for table in TABLES:
        model = apps.get_model("controller", table)
        for name in COLUMNS:
            field = column()
            field.set_attributes_from_name(name)
            field.model = model
            yield model, field


def add(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    for model, field in columns(apps):
        editor.add_field(model, field)


def remove(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    for model, field in columns(apps):
        editor.remove_field(model, field)


class Migration(migrations.Migration):
    dependencies = [("controller", "0032_watch_workers")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(add, remove)],
            state_operations=[
                migrations.AddField(table, name, column())
                for table in TABLES
                for name in COLUMNS
            ],
        )
    ]
