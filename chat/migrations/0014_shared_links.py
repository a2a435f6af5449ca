from django.db import migrations, models
from django.utils.timezone import now


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0013_index_messages"),
    ]

    operations = [
        migrations.CreateModel(
            name="SharedLink",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "token_digest",
                    models.CharField(editable=False, max_length=64, unique=True),
                ),
                ("token_start", models.CharField(editable=False, max_length=12)),
                ("snapshot", models.JSONField(blank=True, editable=False, null=True)),
                ("shows_name", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=now, editable=False)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                (
                    "revoked_at",
                    models.DateTimeField(blank=True, editable=False, null=True),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=models.deletion.CASCADE,
                        related_name="shared_links",
                        to="chat.conversation",
                    ),
                ),
            ],
            options={"ordering": ["-created_at"]},
        ),
    ]
