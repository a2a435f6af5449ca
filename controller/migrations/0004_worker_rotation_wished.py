"""Workers whose engine is to get a new key."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0003_worker_stop_wished")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="rotation_wished",
            field=models.BooleanField(
                db_default=False, default=False, verbose_name="key rotation"
            ),
        ),
    ]
