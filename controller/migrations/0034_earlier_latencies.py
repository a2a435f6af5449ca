"""Have the hours whose rows are still there rolled up anew, with their latencies."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def mark_stale(apps: StateApps, _editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("controller", "LedgerHour").objects.update(num_rolled_up=0)


class Migration(migrations.Migration):
    dependencies = [("controller", "0033_usage_latencies")]

    operations = [migrations.RunPython(mark_stale, migrations.RunPython.noop)]
