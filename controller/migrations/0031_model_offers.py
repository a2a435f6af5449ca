"""What operators decide about a model: for whom it is, how it is asked, and by whom."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0030_announcements_and_terms")]

    operations = [
        migrations.AddField(
            model_name="servedmodel",
            name="licence",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="Shown to users beside the description, such as Apache-2.0.",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="teams",
            field=models.ManyToManyField(
                blank=True, related_name="served_models", to="controller.team"
            ),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="default_parameters",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
            ),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="system_prompt",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="context_limit",
            field=models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="canary_percent",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                validators=[django.core.validators.MaxValueValidator(100)],
                verbose_name="canary share (percent)",
            ),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="canary_labels",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
            ),
        ),
        migrations.AddField(
            model_name="servedmodel",
            name="fallback",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="controller.servedmodel",
            ),
        ),
    ]
