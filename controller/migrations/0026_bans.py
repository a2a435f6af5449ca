"""People who may not use models for a while."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0025_moderation_whole_words"),
    ]

    operations = [
        migrations.CreateModel(
            name="Ban",
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
                    "reason",
                    models.CharField(
                        help_text="The user reads this.",
                        max_length=300,
                        verbose_name="reason",
                    ),
                ),
                (
                    "note",
                    models.TextField(
                        blank=True,
                        help_text="For operators alone.",
                        max_length=1000,
                        verbose_name="note",
                    ),
                ),
                (
                    "by_strikes",
                    models.BooleanField(
                        default=False, editable=False, verbose_name="by strikes"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="since",
                    ),
                ),
                (
                    "ends_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Empty: until an operator lifts it.",
                        null=True,
                        verbose_name="ends",
                    ),
                ),
                (
                    "lifted_at",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="lifted"
                    ),
                ),
            ],
            options={
                "verbose_name": "ban",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.AddField(
            model_name="ban",
            name="created_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="by",
            ),
        ),
        migrations.AddField(
            model_name="ban",
            name="lifted_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="lifted by",
            ),
        ),
        migrations.AddField(
            model_name="ban",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="bans",
                to=settings.AUTH_USER_MODEL,
                verbose_name="user",
            ),
        ),
    ]
