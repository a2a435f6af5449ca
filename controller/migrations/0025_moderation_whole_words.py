"""Rules whose terms are not found inside longer words."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0024_account_approval"),
    ]

    operations = [
        migrations.AddField(
            model_name="moderationrule",
            name="whole_words",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Not inside longer words. Chinese, Japanese, Thai and other scripts without spaces are found everywhere all the same.",
                verbose_name="whole words only",
            ),
        ),
    ]
