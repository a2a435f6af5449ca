"""Rules about what models are asked and answer, and what they found."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0016_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name="revision",
            name="moderation",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name="ModerationRule",
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
                    "name",
                    models.CharField(max_length=100, unique=True, verbose_name="name"),
                ),
                (
                    "category",
                    models.CharField(
                        help_text="The one thing that people are told of the rule that stops them.",
                        max_length=50,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z][a-z0-9_/-]*$",
                                "Write a name in small letters, such as trade-secrets or violence.",
                            )
                        ],
                        verbose_name="category",
                    ),
                ),
                (
                    "terms",
                    models.TextField(
                        blank=True,
                        help_text="One a line, as text: in any case, also inside longer words, full-width or with invisible characters.",
                        verbose_name="terms",
                    ),
                ),
                (
                    "pattern",
                    models.TextField(
                        blank=True,
                        help_text="In RE2's syntax and any case, such as \\bACME-\\d{4,6}\\b",
                        verbose_name="pattern",
                    ),
                ),
                (
                    "direction",
                    models.CharField(
                        choices=[
                            ("input", "Input: what models are asked"),
                            ("output", "Output: what they answer"),
                            ("both", "Both"),
                        ],
                        default="input",
                        max_length=10,
                        verbose_name="direction",
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("block", "Block: refuse the prompt, end the answer"),
                            ("redact", "Redact: put [redacted] in its place"),
                            ("flag", "Flag: only note it"),
                        ],
                        default="flag",
                        max_length=10,
                        verbose_name="action",
                    ),
                ),
                (
                    "faces",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="None chosen: all.",
                        verbose_name="faces",
                    ),
                ),
                (
                    "served_models",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="None named: all.",
                        verbose_name="models",
                    ),
                ),
                (
                    "teams",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="None chosen: everybody.",
                        verbose_name="teams",
                    ),
                ),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Where several rules block, the smallest number is the one told.",
                        verbose_name="priority",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
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
                "verbose_name": "moderation rule",
                "ordering": ["priority", "id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("terms", ""), ("pattern", ""), _connector="XOR"
                        ),
                        name="moderation_rule_has_terms_or_a_pattern",
                        violation_error_message="Write either terms or a pattern.",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ModerationFlag",
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
                ("request_id", models.CharField(max_length=64)),
                (
                    "face",
                    models.CharField(
                        choices=[
                            ("api", "Api"),
                            ("chat", "Chat"),
                            ("batch", "Batch"),
                            ("probe", "Probe"),
                        ],
                        max_length=10,
                    ),
                ),
                ("model", models.CharField(max_length=200)),
                ("rule_name", models.CharField(max_length=100)),
                ("category", models.CharField(max_length=50)),
                (
                    "direction",
                    models.CharField(
                        choices=[
                            ("input", "Input: what models are asked"),
                            ("output", "Output: what they answer"),
                            ("both", "Both"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("block", "Block: refuse the prompt, end the answer"),
                            ("redact", "Redact: put [redacted] in its place"),
                            ("flag", "Flag: only note it"),
                        ],
                        max_length=10,
                    ),
                ),
                ("encrypted_excerpt", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="controller.apikey",
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="controller.team",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="controller.moderationrule",
                    ),
                ),
            ],
            options={
                "verbose_name": "moderation flag",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["created_at"], name="moderation_flag_by_age"),
                    models.Index(
                        fields=["request_id"], name="moderation_flag_by_request"
                    ),
                ],
            },
        ),
    ]
