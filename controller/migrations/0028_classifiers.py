"""Classifiers, and rules that ask one."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0027_moderation_verdicts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Classifier",
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
                    "kind",
                    models.CharField(
                        choices=[
                            ("endpoint", "A moderation endpoint as OpenAI has it"),
                            ("model", "A model that is served here"),
                        ],
                        default="endpoint",
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                (
                    "url",
                    models.CharField(
                        blank=True,
                        help_text="Such as https://api.openai.com/v1/moderations",
                        max_length=300,
                        validators=[
                            django.core.validators.URLValidator(["http", "https"])
                        ],
                        verbose_name="address",
                    ),
                ),
                ("encrypted_key", models.TextField(blank=True, editable=False)),
                (
                    "model",
                    models.CharField(
                        blank=True,
                        help_text="The name that the endpoint is asked for, such as omni-moderation-latest; or a model of this site.",
                        max_length=200,
                        verbose_name="model",
                    ),
                ),
                (
                    "instructions",
                    models.TextField(
                        blank=True,
                        help_text="For a model of this site: what it is told. Empty for models that judge by themselves, as Llama Guard does. It answers safe, or unsafe and the categories.",
                        max_length=4000,
                        verbose_name="instructions",
                    ),
                ),
                (
                    "threshold",
                    models.FloatField(
                        blank=True,
                        help_text="The score from which on a category counts; empty: as the endpoint itself says.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                        verbose_name="threshold",
                    ),
                ),
                (
                    "names",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='What its categories are called here, such as {"S1": "violence"}; others keep their names.',
                        verbose_name="other names",
                    ),
                ),
                (
                    "timeout_seconds",
                    models.FloatField(
                        default=3.0,
                        help_text="Seconds. Prompts wait for it.",
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(60.0),
                        ],
                        verbose_name="time-out",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "classifier",
                "ordering": ["name"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="moderationrule",
            name="moderation_rule_has_terms_or_a_pattern",
        ),
        migrations.AddField(
            model_name="moderationrule",
            name="classifier_categories",
            field=models.JSONField(
                blank=True,
                db_default=[],
                default=list,
                help_text="Those that count, such as violence; none named: all.",
                verbose_name="its categories",
            ),
        ),
        migrations.AddField(
            model_name="moderationrule",
            name="on_failure",
            field=models.CharField(
                choices=[
                    ("open", "Fail open: let the prompt pass, and note it in the log"),
                    ("closed", "Fail closed: refuse the prompt, and say when to retry"),
                ],
                db_default="open",
                default="open",
                max_length=10,
                verbose_name="when it does not answer",
            ),
        ),
        migrations.AddField(
            model_name="moderationrule",
            name="classifier",
            field=models.ForeignKey(
                blank=True,
                help_text="In place of terms and pattern: what judges the text.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="rules",
                to="controller.classifier",
                verbose_name="classifier",
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("classifier", None),
                        ("pattern", ""),
                        models.Q(("terms", ""), _negated=True),
                    ),
                    models.Q(
                        ("classifier", None),
                        ("terms", ""),
                        models.Q(("pattern", ""), _negated=True),
                    ),
                    models.Q(
                        ("classifier__isnull", False), ("pattern", ""), ("terms", "")
                    ),
                    _connector="OR",
                ),
                name="moderation_rule_looks_for_one_thing",
                violation_error_message="Write either terms or a pattern, or choose a classifier.",
            ),
        ),
    ]
