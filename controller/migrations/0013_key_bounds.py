"""Keys bound to networks, sites and endpoints; keys of browsers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0012_key_rotation")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="is_publishable",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="For scripts in browsers, where everybody can read it.",
                verbose_name="publishable",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="allowed_networks",
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name="apikey",
            name="allowed_origins",
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name="apikey",
            name="allowed_endpoints",
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
    ]
