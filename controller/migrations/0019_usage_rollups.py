"""Usage by hour and by day, and which hours of the ledger are not in it yet."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def reference(to: str) -> models.ForeignKey:
    return models.ForeignKey(
        to,
        django.db.models.deletion.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )


def fields() -> list[tuple[str, models.Field]]:
    return [
        (
            "id",
            models.BigAutoField(
                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
            ),
        ),
        ("begins_at", models.DateTimeField()),
        ("user", reference(settings.AUTH_USER_MODEL)),
        ("key", reference("controller.apikey")),
        ("team", reference("controller.team")),
        ("model", models.CharField(max_length=200)),
        ("face", models.CharField(max_length=10)),
        ("status_class", models.PositiveSmallIntegerField()),
        ("num_requests", models.PositiveBigIntegerField()),
        ("prompt_tokens", models.PositiveBigIntegerField()),
        ("cached_tokens", models.PositiveBigIntegerField()),
        ("completion_tokens", models.PositiveBigIntegerField()),
        ("cost_nanos", models.BigIntegerField()),
        ("num_first_tokens", models.PositiveBigIntegerField()),
        ("ttft_seconds", models.FloatField()),
        ("duration_seconds", models.FloatField()),
    ]


class Migration(migrations.Migration):
    dependencies = [("controller", "0018_ledger_cost")]

    operations = [
        migrations.CreateModel(
            "LedgerHour",
            [
                ("begins_at", models.DateTimeField(primary_key=True, serialize=False)),
                ("num_written", models.PositiveBigIntegerField(default=0)),
                ("num_rolled_up", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["begins_at"],
                        condition=models.Q(num_written__gt=models.F("num_rolled_up")),
                        name="ledger_stale_hours",
                    )
                ]
            },
        ),
        migrations.CreateModel(
            "UsageHour",
            fields(),
            options={
                "indexes": [
                    models.Index(fields=["begins_at"], name="usage_by_hour"),
                    models.Index(
                        fields=["user", "begins_at"], name="usage_by_user_hour"
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            "UsageDay",
            fields(),
            options={
                "indexes": [
                    models.Index(fields=["begins_at"], name="usage_by_day"),
                    models.Index(
                        fields=["user", "begins_at"], name="usage_by_user_day"
                    ),
                ]
            },
        ),
    ]
