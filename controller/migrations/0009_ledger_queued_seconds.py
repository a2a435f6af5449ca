from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0008_adapters")]

    operations = [
        migrations.AddField(
            model_name="ledgerentry",
            name="queued_seconds",
            field=models.FloatField(null=True),
        )
    ]
