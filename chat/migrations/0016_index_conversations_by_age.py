from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0015_index_ratings")]

    operations = [
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                fields=["updated_at"],
                name="conversations_by_age",
                condition=models.Q(("is_temporary", False)),
            ),
        ),
    ]
