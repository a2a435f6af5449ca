"""Alerts about budgets: what was told, and what is to be tried again."""

import django.db.models.deletion
import django.utils.timezone
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0021_engine_starts"),
    ]

    operations = [
        migrations.CreateModel(
            name="BudgetAlert",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("period_start", models.DateField()),
                ("threshold", models.PositiveSmallIntegerField()),
                ("total", models.BigIntegerField()),
                ("used", models.BigIntegerField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("is_covered", models.BooleanField(default=False)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("num_attempts", models.PositiveSmallIntegerField(default=0)),
                ("mailed_at", models.DateTimeField(null=True)),
                ("num_mailed", models.PositiveIntegerField(default=0)),
                ("mail_error", models.CharField(blank=True, max_length=300)),
                ("webhook_delivered_at", models.DateTimeField(null=True)),
                ("webhook_error", models.CharField(blank=True, max_length=300)),
                (
                    "limit",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alerts",
                        to="controller.limit",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_attempt_at__isnull", False)),
                        fields=["next_attempt_at"],
                        name="alert_by_next_attempt",
                    ),
                    models.Index(fields=["period_start"], name="alert_by_period"),
                    models.Index(fields=["-created_at"], name="alert_by_creation"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("limit", "period_start", "threshold", "total"),
                        name="one_alert_a_period_and_threshold",
                    )
                ],
            },
        ),
    ]
