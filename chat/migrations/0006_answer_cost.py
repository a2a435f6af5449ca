from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0005_feedback"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="cost_nanos",
            field=models.BigIntegerField(null=True, verbose_name="cost in billionths"),
        ),
    ]
