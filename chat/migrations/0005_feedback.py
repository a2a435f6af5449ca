from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0004_deleted_branches"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="rating",
            field=models.SmallIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="rating_reason",
            field=models.TextField(blank=True, default="", db_default=""),
        ),
        migrations.AddField(
            model_name="message",
            name="rated_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="flagged_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("rating__in", [-1, 1]), ("rating", None), _connector="OR"
                ),
                name="message_rating_known",
            ),
        ),
    ]
