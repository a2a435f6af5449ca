"""What operators say of flags, and who may read what people write."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0026_bans"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="moderationflag",
            options={
                "ordering": ["-id"],
                "permissions": [("view_message_text", "Can read what people write")],
                "verbose_name": "moderation flag",
            },
        ),
        migrations.AddField(
            model_name="moderationflag",
            name="decided_at",
            field=models.DateTimeField(null=True, verbose_name="decided"),
        ),
        migrations.AddField(
            model_name="moderationflag",
            name="decided_by",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="decided by",
            ),
        ),
        migrations.AddField(
            model_name="moderationflag",
            name="verdict",
            field=models.CharField(
                choices=[
                    ("open", "waiting"),
                    ("released", "released"),
                    ("confirmed", "confirmed"),
                ],
                db_default="open",
                default="open",
                max_length=10,
                verbose_name="verdict",
            ),
        ),
        migrations.AddField(
            model_name="moderationflag",
            name="verdict_note",
            field=models.CharField(
                blank=True, db_default="", max_length=500, verbose_name="note"
            ),
        ),
        migrations.AddField(
            model_name="moderationflag",
            name="ban",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="strikes",
                to="controller.ban",
                verbose_name="ban",
            ),
        ),
        migrations.AddIndex(
            model_name="moderationflag",
            index=models.Index(fields=["verdict", "-id"], name="moderation_flag_queue"),
        ),
        migrations.AddIndex(
            model_name="moderationflag",
            index=models.Index(
                fields=["user", "verdict"], name="moderation_flag_strikes"
            ),
        ),
    ]
