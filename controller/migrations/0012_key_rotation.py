"""A key's secret before its last rotation, and the first one of an imported key."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0011_allowed_origins")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="previous_prefix",
            field=models.CharField(
                blank=True, db_default="", editable=False, max_length=20
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_digest",
            field=models.CharField(editable=False, max_length=64, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_expires_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_last_used_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="imported_digest",
            field=models.CharField(
                editable=False, max_length=64, null=True, unique=True
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("previous_digest__isnull", False)),
                fields=("previous_digest",),
                name="previous_digest_is_unique",
            ),
        ),
    ]
