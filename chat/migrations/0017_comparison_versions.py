"""Models that are asked again side by side answer in their own columns."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0016_index_conversations_by_age")]

    operations = [
        migrations.AddField(
            model_name="comparison",
            name="versions",
            field=models.JSONField(db_default=[], default=list),
        ),
    ]
