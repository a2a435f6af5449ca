from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0002_messages_by_state"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="reasoning",
            field=models.TextField(blank=True, default="", db_default=""),
        ),
        migrations.AddField(
            model_name="message",
            name="reasoning_seconds",
            field=models.FloatField(null=True),
        ),
    ]
