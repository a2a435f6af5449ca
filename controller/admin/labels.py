"""Labels as operators type them: a JSON object of texts."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


def clean_labels(given: Any) -> dict[str, str]:
    """The labels, none for an empty field; raises ValidationError for anything else."""
    labels = given or {}
    if not isinstance(labels, dict) or not all(
        isinstance(value, str) for value in labels.values()
    ):
        raise forms.ValidationError(
            _('Labels are names with texts, such as {"zone": "eu-1"}.')
        )
    return labels
