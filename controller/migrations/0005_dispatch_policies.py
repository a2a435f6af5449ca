"""Three more policies to choose from."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0004_worker_rotation_wished")]

    operations = [
        migrations.AlterField(
            model_name="servedmodel",
            name="policy",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "Default"),
                    ("lottery", "Lottery (by weight)"),
                    ("shortest_queue", "Shortest queue"),
                    ("round_robin", "Round robin (by weight)"),
                    ("least_load", "Least load"),
                    ("prefix_affinity", "Prefix affinity"),
                ],
                default="",
                help_text="How a worker is chosen; default: DISPATCH_POLICY.",
                max_length=30,
            ),
        ),
    ]
