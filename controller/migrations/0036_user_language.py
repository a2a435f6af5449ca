from django.db import migrations, models

import controller.models.identity


class Migration(migrations.Migration):
    dependencies = [("controller", "0035_guest_links")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True,
                choices=controller.models.identity.languages,
                db_default="",
                default="",
                max_length=10,
                verbose_name="language of letters",
            ),
        ),
    ]
