"""Models that only workers with certain labels may serve."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0009_ledger_queued_seconds")]

    operations = [
        migrations.AddField(
            model_name="servedmodel",
            name="required_labels",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
                help_text=(
                    "Dispatch only to workers that have these labels, such as"
                    ' {"zone": "eu"}; empty: to all.'
                ),
            ),
        ),
    ]
