"""What people ask for beyond their limits, and what was answered."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0022_budget_alerts"),
    ]

    operations = [
        migrations.CreateModel(
            name="LimitRequest",
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
                (
                    "owner_name",
                    models.CharField(max_length=200, verbose_name="limit of"),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("requests_per_minute", "requests per minute"),
                            ("tokens_per_minute", "tokens per minute"),
                            ("concurrent", "requests at once"),
                            ("tokens_per_day", "tokens per day"),
                            ("tokens_per_month", "tokens per month"),
                            ("money_per_day", "money per day"),
                            ("money_per_month", "money per month"),
                        ],
                        max_length=30,
                        verbose_name="limits",
                    ),
                ),
                (
                    "amount",
                    models.DecimalField(
                        decimal_places=6, max_digits=18, verbose_name="wished"
                    ),
                ),
                ("reason", models.TextField(max_length=1000, verbose_name="reason")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            ("approved", "approved"),
                            ("denied", "denied"),
                        ],
                        default="open",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                (
                    "granted",
                    models.DecimalField(
                        decimal_places=6,
                        max_digits=18,
                        null=True,
                        verbose_name="granted",
                    ),
                ),
                (
                    "answer",
                    models.TextField(
                        blank=True, max_length=1000, verbose_name="answer"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="asked"
                    ),
                ),
                ("decided_at", models.DateTimeField(null=True, verbose_name="decided")),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="decided by",
                    ),
                ),
                (
                    "limit",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="requests",
                        to="controller.limit",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limit_requests",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "request for more",
                "verbose_name_plural": "requests for more",
                "ordering": [
                    models.OrderBy(
                        models.F("decided_at"), descending=True, nulls_first=True
                    ),
                    "-created_at",
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "open")),
                        fields=("user", "limit"),
                        name="one_open_request_a_person_and_limit",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("state", "open")),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("state__in", ["approved", "denied"]),
                            ),
                            _connector="OR",
                        ),
                        name="limit_request_is_open_until_decided",
                    ),
                ],
            },
        ),
    ]
