"""What each request cost, by the prices of its moment."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0017_moderation")]

    operations = [
        migrations.AddField(
            "ledgerentry",
            "cost_nanos",
            models.BigIntegerField("cost in billionths", default=0, db_default=0),
        )
    ]
