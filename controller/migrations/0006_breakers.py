"""What web processes hold against workers, for operators to see."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0005_dispatch_policies")]

    operations = [
        migrations.CreateModel(
            name="WorkerBreaker",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("process", models.CharField(max_length=200)),
                ("state", models.CharField(max_length=10)),
                ("reason", models.TextField()),
                ("since", models.DateTimeField()),
                ("written_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "worker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="breakers",
                        to="controller.worker",
                    ),
                ),
            ],
            options={
                "ordering": ["process"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("process", "worker"), name="one_breaker_each_process"
                    )
                ],
            },
        ),
    ]
