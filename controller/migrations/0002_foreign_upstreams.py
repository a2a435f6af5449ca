"""Upstreams that run elsewhere: below a base path, several workers at one address."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="base_path",
            field=models.CharField(default="/v1", db_default="/v1", max_length=200),
        ),
        migrations.AddField(
            model_name="worker",
            name="shares_address",
            field=models.BooleanField(default=False, db_default=False),
        ),
        migrations.RemoveConstraint(
            model_name="worker", name="one_registered_worker_per_address"
        ),
        migrations.AddConstraint(
            model_name="worker",
            constraint=models.UniqueConstraint(
                fields=["address"],
                condition=models.Q(("left_at", None), ("shares_address", False)),
                name="one_registered_engine_per_address",
            ),
        ),
    ]
