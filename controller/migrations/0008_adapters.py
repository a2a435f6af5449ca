"""LoRA adapters, and what workers say of them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("controller", "0007_explanations")]

    operations = [
        migrations.CreateModel(
            name="Adapter",
            fields=[
                (
                    "servedmodel_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="controller.servedmodel",
                    ),
                ),
                ("source", models.CharField(max_length=500)),
                (
                    "parent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="adapters",
                        to="controller.servedmodel",
                    ),
                ),
            ],
            options={"verbose_name": "adapter"},
            bases=("controller.servedmodel",),
        ),
        migrations.AddField(
            model_name="worker",
            name="takes_adapters",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="worker",
            name="adapter_states",
            field=models.JSONField(
                db_default=models.Value({}, models.JSONField()),
                default=dict,
                editable=False,
            ),
        ),
    ]
