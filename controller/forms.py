"""Form fields that the console and the pages of the accounts share."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from controller.addresses import parse_networks
from controller.identity.origins import parse_pattern


class ListField(forms.CharField):
    """A list typed with commas, spaces or lines between; none is `[]`.

    `parse` makes the list of the text, or raises ValueError with the words to show.
    """

    def __init__(self, *, parse: Callable[[str], list[str]], **kwargs: Any) -> None:
        super().__init__(**{"required": False} | kwargs)
        self.parse = parse

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        try:
            return self.parse(super().clean(value))
        except ValueError as exc:
            raise ValidationError(str(exc)) from exc

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class NetworksField(ListField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(parse=parse_networks, **kwargs)


class OriginsField(ListField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(parse=parse_origins, **kwargs)


def words(text: str) -> list[str]:
    """The words of a list with commas or white space, each once."""
    return list(dict.fromkeys(text.replace(",", " ").split()))


def parse_origins(text: str) -> list[str]:
    return [parse_pattern(word) for word in words(text)]
