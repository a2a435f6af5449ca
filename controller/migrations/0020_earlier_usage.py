"""Have what the ledger holds already rolled up: every hour since its first row.

Hours without rows cost a look each. Counting them here would read the whole ledger.
"""

from datetime import timedelta

from django.db import migrations
from django.db.models import Max, Min

HOUR = timedelta(hours=1)


def mark_hours(apps, schema_editor):
    entries = apps.get_model("controller", "LedgerEntry").objects
    ends = entries.aggregate(first=Min("created_at"), last=Max("created_at"))
    if ends["first"] is None:
        return
    hours = apps.get_model("controller", "LedgerHour")
    hour = ends["first"].replace(minute=0, second=0, microsecond=0)
    marked = []
    while hour <= ends["last"]:
        marked.append(hours(begins_at=hour, num_written=1))
        hour += HOUR
    hours.objects.bulk_create(marked, batch_size=1000, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("controller", "0019_usage_rollups")]

    operations = [migrations.RunPython(mark_hours, migrations.RunPython.noop)]
