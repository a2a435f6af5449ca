"""Workers that are to drain and then end their process."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0002_foreign_upstreams")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="stop_wished",
            field=models.BooleanField(
                db_default=False, default=False, verbose_name="stop"
            ),
        ),
    ]
