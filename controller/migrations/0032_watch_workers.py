"""What operators watch: samples and logs of workers, and tries to join by a token."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0031_model_offers"),
    ]

    operations = [
        migrations.CreateModel(
            name="WorkerLog",
            fields=[
                (
                    "worker",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="log",
                        serialize=False,
                        to="controller.worker",
                    ),
                ),
                ("lines", models.JSONField(default=list)),
                ("heard_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.AddField(
            model_name="jointoken",
            name="heard_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="jointoken",
            name="heard_progress",
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="jointoken",
            name="heard_state",
            field=models.CharField(
                blank=True, db_default="", editable=False, max_length=20
            ),
        ),
        migrations.AddField(
            model_name="jointoken",
            name="refusal",
            field=models.TextField(blank=True, db_default="", editable=False),
        ),
        migrations.AddField(
            model_name="jointoken",
            name="refusal_code",
            field=models.CharField(
                blank=True, db_default="", editable=False, max_length=50
            ),
        ),
        migrations.AddField(
            model_name="jointoken",
            name="refused_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="worker",
            name="log_wished_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.CreateModel(
            name="WorkerSample",
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
                ("taken_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("start_id", models.CharField(blank=True, max_length=64)),
                ("running", models.PositiveIntegerField(null=True)),
                ("waiting", models.PositiveIntegerField(null=True)),
                ("kv_cache_usage", models.FloatField(null=True)),
                ("generation_tokens_total", models.PositiveBigIntegerField(null=True)),
                ("num_requests", models.PositiveIntegerField(default=0)),
                ("num_errors", models.PositiveIntegerField(default=0)),
                ("num_first_tokens", models.PositiveIntegerField(default=0)),
                ("ttft_seconds", models.FloatField(default=0.0)),
                (
                    "worker",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="samples",
                        to="controller.worker",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["worker", "taken_at"], name="sample_by_worker"
                    ),
                    models.Index(fields=["taken_at"], name="sample_by_time"),
                ],
            },
        ),
    ]
