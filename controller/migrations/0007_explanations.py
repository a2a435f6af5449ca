"""Why a request went where it went; and a way to it from the client's own id."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0006_breakers")]

    operations = [
        migrations.AddField(
            model_name="ledgerentry",
            name="explanation",
            field=models.JSONField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                fields=["client_request_id"], name="ledger_by_client_id"
            ),
        ),
    ]
