from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0014_shared_links")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                fields=["rated_at", "id"],
                name="messages_rated",
                condition=models.Q(("rating__isnull", False)),
            ),
        ),
    ]
