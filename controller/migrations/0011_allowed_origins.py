"""Whose web pages may call the API."""

import controller.models.origins
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0010_required_labels")]

    operations = [
        migrations.AddField(
            model_name="revision",
            name="origins",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name="AllowedOrigin",
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
                    "pattern",
                    models.CharField(
                        help_text="Such as https://app.example.com, or https://*.example.com for every host one label below, or * for every site.",
                        max_length=255,
                        unique=True,
                        validators=[controller.models.origins.validate_pattern],
                        verbose_name="origin",
                    ),
                ),
                (
                    "methods",
                    models.JSONField(
                        default=controller.models.origins.any_of_them,
                        validators=[controller.models.origins.validate_tokens],
                        verbose_name="methods",
                    ),
                ),
                (
                    "headers",
                    models.JSONField(
                        default=controller.models.origins.any_of_them,
                        validators=[controller.models.origins.validate_tokens],
                        verbose_name="request headers",
                    ),
                ),
                (
                    "allows_credentials",
                    models.BooleanField(
                        default=False,
                        help_text="Browsers may send cookies and TLS client certificates along. API keys do not need it.",
                        verbose_name="credentials",
                    ),
                ),
                (
                    "note",
                    models.CharField(blank=True, max_length=200, verbose_name="note"),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False
                    ),
                ),
            ],
            options={
                "ordering": ["pattern"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("allows_credentials", True),
                            ("pattern", "*"),
                            _negated=True,
                        ),
                        name="no_credentials_for_every_origin",
                        violation_error_message="Credentials for every site would let any page act as its visitor.",
                    )
                ],
            },
        ),
    ]
