"""What a model's tokens cost, for the ledger and for budgets in money."""

from decimal import Decimal

import django.core.validators
from django.db import migrations, models


def price(name: str) -> models.DecimalField:
    return models.DecimalField(
        name,
        max_digits=14,
        decimal_places=6,
        default=Decimal(0),
        db_default=Decimal(0),
        validators=[django.core.validators.MinValueValidator(0)],
    )


class Migration(migrations.Migration):
    dependencies = [("controller", "0014_ledger_moves")]

    operations = [
        migrations.AddField(
            "servedmodel", "price_prompt", price("price of prompt tokens")
        ),
        migrations.AddField(
            "servedmodel",
            "price_cached",
            models.DecimalField(
                "price of cached prompt tokens",
                max_digits=14,
                decimal_places=6,
                null=True,
                blank=True,
                validators=[django.core.validators.MinValueValidator(0)],
                help_text="Empty: as other prompt tokens.",
            ),
        ),
        migrations.AddField(
            "servedmodel", "price_completion", price("price of completion tokens")
        ),
    ]
