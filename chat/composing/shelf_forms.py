"""What people say of a preset or a saved prompt, and on whose shelf it goes."""

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from chat.composing.forms import SetupForm
from chat.composing.models import Preset, SavedPrompt, Shared
from controller.models import Membership, Team, User

OWN = "own"


class ShelfForm(forms.Form):
    """A row of one of the shelves that this user manages."""

    kind: type[Shared]

    name = forms.CharField(
        label=_("Name"),
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    shelf = forms.ChoiceField(label=_("For"), required=False)

    def __init__(self, user: User, row: Any, data: Any = None) -> None:
        super().__init__(data, initial=self.initial_of(row))
        self.user = user
        self.row = row
        owned = Team.objects.filter(
            memberships__user=user, memberships__role=Membership.Role.OWNER
        )
        self.teams = {str(team.pk): team for team in owned}
        choices = [(OWN, _("me alone")), *((k, t.name) for k, t in self.teams.items())]
        field = self.fields["shelf"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def initial_of(self, row: Any) -> dict[str, Any]:
        shelf = str(row.team_id) if row.team_id else OWN
        return {"name": row.name, "shelf": shelf}

    @property
    def offers_teams(self) -> bool:
        return bool(self.teams)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        team = self.teams.get(cleaned["shelf"])
        self.row.name, self.row.team = cleaned["name"], team
        self.row.user = None if team else self.user
        shelf = self.kind.objects.filter(team=team, user=self.row.user)
        if shelf.filter(name=self.row.name).exclude(pk=self.row.pk).exists():
            self.add_error("name", _("There is one of this name already."))
        elif self.row.pk is None and shelf.count() >= settings.CHAT_MAX_SAVED:
            self.add_error(
                None,
                _("There are %d of them, which is the limit: delete one first.")
                % settings.CHAT_MAX_SAVED,
            )
        return cleaned

    def save(self) -> Any:
        """The stored row of a valid form."""
        self.row.save()
        return self.row


class SavedPromptForm(ShelfForm):
    kind = SavedPrompt

    text = forms.CharField(
        label=_("Text"),
        widget=forms.Textarea(attrs={"rows": 8, "dir": "auto"}),
        help_text=_(
            "Words in double braces, such as {{topic}}, are asked for each time."
        ),
    )

    def initial_of(self, row: Any) -> dict[str, Any]:
        return {**super().initial_of(row), "text": row.text}

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"].replace("\x00", "")
        if len(text) > settings.CHAT_MAX_PROMPT_CHARS:
            raise forms.ValidationError(
                _("At most %(most)d characters."),
                params={"most": settings.CHAT_MAX_PROMPT_CHARS},
            )
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self.row.text = cleaned.get("text", "")
        return cleaned


class PresetForm(ShelfForm, SetupForm):
    kind = Preset

    field_order = ("name", "shelf", "model")
    model = forms.CharField(
        label=_("Model"),
        max_length=200,
        required=False,
        help_text=_("Empty: whichever is chosen."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def initial_of(self, row: Any) -> dict[str, Any]:
        fields = row.setup.parameters.fields()
        stop = [text.replace("\n", "\\n") for text in fields.pop("stop", [])]
        return {
            **super().initial_of(row),
            "model": row.model,
            "system_prompt": row.system_prompt,
            "stop": "\n".join(stop),
            **fields,
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not self.errors:
            self.row.model = cleaned["model"]
            self.row.set_up(self.setup)
        return cleaned
