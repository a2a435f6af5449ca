"""What people may set, checked field by field, in words that say what would do."""

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from chat.composing.setups import Parameters, Setup
from chat.errors import SetupRefused

MAX_SEED = 10**15 - 1  # a page reads JSON numbers exactly up to 2**53
MAX_STOP_CHARS = 200


class StopField(forms.CharField):
    """Texts, one a line, in which `\\n` stands for a line break; a list will do too."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        lines = value if isinstance(value, list) else str(value or "").splitlines()
        texts = (str(line).replace("\x00", "").replace("\\n", "\n") for line in lines)
        return [text for text in texts if text]

    def validate(self, value: Any) -> None:
        maximum = settings.MAX_STOP_STRINGS
        if len(value) > maximum:
            raise forms.ValidationError(
                _("At most %(most)d of them."), params={"most": maximum}
            )
        if any(len(text) > MAX_STOP_CHARS for text in value):
            raise forms.ValidationError(
                _("At most %(most)d characters each."), params={"most": MAX_STOP_CHARS}
            )

    def run_validators(self, value: Any) -> None:
        """They would look at a text, and `validate` has looked at the list."""


def _number(field: type[forms.Field], words: Any, **options: Any) -> Any:
    """A field whose every complaint is the one sentence that says what would do."""
    errors = dict.fromkeys(("invalid", "min_value", "max_value"), words)
    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return field(required=False, error_messages=errors, widget=widget, **options)


class SetupForm(forms.Form):
    """Instructions and parameters; an empty field leaves it to the model."""

    system_prompt = forms.CharField(
        label=_("Instructions (system prompt)"), required=False, widget=forms.Textarea
    )
    temperature = _number(
        forms.FloatField,
        _("A number from 0 to 2."),
        min_value=0,
        max_value=2,
        label=_("Temperature"),
    )
    top_p = _number(
        forms.FloatField,
        _("A number above 0, up to 1."),
        min_value=1e-6,
        max_value=1,
        label=_("Top p"),
    )
    max_tokens = _number(
        forms.IntegerField,
        _("A whole number, 1 or more."),
        min_value=1,
        max_value=2**31 - 1,
        label=_("Longest answer"),
    )
    stop = StopField(
        label=_("Stop texts"),
        required=False,
        help_text=_(
            "The answer ends before any of them."
            " One a line; \\n stands for a line break."
        ),
    )
    seed = _number(
        forms.IntegerField,
        _("A whole number of at most 15 digits."),
        min_value=-MAX_SEED,
        max_value=MAX_SEED,
        label=_("Seed"),
    )

    def clean_system_prompt(self) -> str:
        text: str = self.cleaned_data["system_prompt"].replace("\x00", "")
        maximum = settings.CHAT_MAX_SYSTEM_CHARS
        if len(text) > maximum:
            raise forms.ValidationError(
                _("At most %(most)d characters."), params={"most": maximum}
            )
        return text

    @property
    def setup(self) -> Setup:
        """What a valid form says."""
        said = self.cleaned_data
        parameters = {name: said[name] for name in Parameters.__struct_fields__}
        return Setup(
            system_prompt=said["system_prompt"], parameters=Parameters(**parameters)
        )


def checked_setup(given: dict[str, Any]) -> Setup:
    """The set-up of fields as a page sent them. Raises `SetupRefused`."""
    form = SetupForm(given)
    if not form.is_valid():
        raise SetupRefused(
            {name: str(errors[0]) for name, errors in form.errors.items()}
        )
    return form.setup
