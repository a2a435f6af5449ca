"""Engines' own counters for each of their starts, beside what the ledger has."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0020_earlier_usage")]

    operations = [
        migrations.CreateModel(
            "EngineStart",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("start_id", models.CharField(max_length=100)),
                ("first_heard_at", models.DateTimeField()),
                ("last_heard_at", models.DateTimeField()),
                ("first_prompt_tokens", models.PositiveBigIntegerField()),
                ("first_completion_tokens", models.PositiveBigIntegerField()),
                ("last_prompt_tokens", models.PositiveBigIntegerField()),
                ("last_completion_tokens", models.PositiveBigIntegerField()),
                ("counted_prompt_tokens", models.PositiveBigIntegerField(default=0)),
                (
                    "counted_completion_tokens",
                    models.PositiveBigIntegerField(default=0),
                ),
                ("num_cut", models.PositiveBigIntegerField(default=0)),
                ("cut_prompt_tokens", models.PositiveBigIntegerField(default=0)),
                ("cut_completion_tokens", models.PositiveBigIntegerField(default=0)),
                ("reconciled_at", models.DateTimeField(null=True)),
                (
                    "worker",
                    models.ForeignKey(
                        "controller.worker",
                        django.db.models.deletion.DO_NOTHING,
                        db_constraint=False,
                        related_name="+",
                    ),
                ),
            ],
            options={
                "ordering": ["-last_heard_at"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["worker", "start_id"],
                        name="one_row_for_an_engine_start",
                    )
                ],
                "indexes": [
                    models.Index(fields=["last_heard_at"], name="engine_start_by_heard")
                ],
            },
        )
    ]
