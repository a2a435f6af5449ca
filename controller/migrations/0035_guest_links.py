"""Links by which people chat as guests, and whose guest somebody is."""

import controller.models.guests
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0034_earlier_latencies"),
    ]

    operations = [
        migrations.CreateModel(
            name="GuestLink",
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
                    "note",
                    models.CharField(
                        blank=True,
                        help_text="What it is for.",
                        max_length=100,
                        verbose_name="note",
                    ),
                ),
                (
                    "prefix",
                    models.CharField(
                        editable=False, max_length=30, verbose_name="beginning"
                    ),
                ),
                (
                    "digest",
                    models.CharField(editable=False, max_length=64, unique=True),
                ),
                (
                    "allowed_models",
                    models.JSONField(blank=True, null=True, verbose_name="models"),
                ),
                (
                    "max_guests",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Empty: any number.",
                        null=True,
                        verbose_name="guests at most",
                    ),
                ),
                (
                    "num_guests",
                    models.PositiveIntegerField(
                        default=0, editable=False, verbose_name="guests"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="made",
                    ),
                ),
                (
                    "expires_at",
                    models.DateTimeField(
                        default=controller.models.guests.default_guest_link_expiry,
                        verbose_name="ends",
                    ),
                ),
                (
                    "revoked_at",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="revoked"
                    ),
                ),
            ],
            options={
                "verbose_name": "guest link",
                "verbose_name_plural": "guest links",
                "ordering": ["-created_at"],
            },
        ),
        migrations.AddField(
            model_name="guestlink",
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
            model_name="guestlink",
            name="team",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="guest_links",
                to="controller.team",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="guest_link",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="guests",
                to="controller.guestlink",
                verbose_name="guest link",
            ),
        ),
    ]
