"""What a person says of a key of their own."""

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.durations import parse_duration
from controller.forms import NetworksField, OriginsField
from controller.identity.scopes import grantable_scopes
from controller.models import ApiKey, ServedModel, Team, User

NEVER = ""
EXPIRIES = [
    ("7d", _("in 7 days")),
    ("30d", _("in 30 days")),
    ("90d", _("in 90 days")),
    ("365d", _("in a year")),
    (NEVER, _("never")),
]
OVERLAPS = [
    ("0", _("not at all: it ends now")),
    ("1h", _("for an hour")),
    ("1d", _("for a day")),
    ("7d", _("for 7 days")),
    ("30d", _("for 30 days")),
]


class KeyForm(forms.Form):
    """A new key. Its choices are what this user may grant."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    expires = forms.ChoiceField(
        label=_("Expires"), choices=EXPIRIES, initial="90d", required=False
    )
    team = forms.ModelChoiceField(
        label=_("Team"), queryset=Team.objects.none(), required=False
    )
    allowed_models = forms.MultipleChoiceField(
        label=_("Models"), required=False, widget=forms.CheckboxSelectMultiple
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"), widget=forms.CheckboxSelectMultiple
    )
    allowed_endpoints = forms.MultipleChoiceField(
        label=_("Endpoints"),
        choices=ApiKey.Endpoint.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    allowed_networks = NetworksField(
        label=_("Networks"),
        widget=forms.TextInput(attrs={"placeholder": "10.1.0.0/16, 192.0.2.7"}),
        help_text=_("Only clients there may use it. Empty: from anywhere."),
    )
    is_publishable = forms.BooleanField(
        label=_("For scripts in web pages"),
        required=False,
        help_text=_(
            "A publishable key may stand in a page that everybody can read: it calls"
            " models and nothing else, and only from the sites below."
        ),
    )
    allowed_origins = OriginsField(
        label=_("Sites"),
        widget=forms.TextInput(attrs={"placeholder": "https://app.example.com"}),
        help_text=_(
            "Only pages of these sites may use it. The operator must allow the same"
            " sites to call the API from browsers."
        ),
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        scopes = grantable_scopes(user)
        names = ServedModel.objects.filter(is_enabled=True).values_list(
            "name", flat=True
        )
        self._offer("scopes", [(scope.value, scope.label) for scope in scopes])
        self._offer("allowed_models", [(name, name) for name in names])
        team = self.fields["team"]
        assert isinstance(team, forms.ModelChoiceField)
        team.queryset = Team.objects.filter(memberships__user=user)
        self.initial.setdefault("scopes", [ApiKey.Scope.INFERENCE.value])

    def _offer(self, name: str, choices: list[tuple[str, Any]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = choices

    @property
    def offers_scopes(self) -> bool:
        """Whether there is more to grant than what every key has."""
        return len(grantable_scopes(self.user)) > 1

    @property
    def offers_teams(self) -> bool:
        team = self.fields["team"]
        assert isinstance(team, forms.ModelChoiceField)
        return team.queryset is not None and team.queryset.exists()

    @property
    def is_narrowed(self) -> bool:
        """Whether one of the rarer limits was filled in, and must be seen."""
        rare = {"allowed_endpoints", "allowed_networks", "allowed_origins"}
        return bool(
            self.is_bound and {*rare, "is_publishable"} & set(self.changed_data)
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        num_active = ApiKey.objects.active().filter(user=self.user).count()
        if num_active >= settings.MAX_KEYS_PER_USER:
            raise forms.ValidationError(
                _("You have %(number)d keys, which is the limit: revoke one first."),
                params={"number": num_active},
            )
        if not self.errors:
            self._check_together(cleaned)
        return cleaned

    def _check_together(self, cleaned: dict[str, Any]) -> None:
        try:
            ApiKey(
                scopes=cleaned["scopes"],
                is_publishable=cleaned["is_publishable"],
                allowed_origins=cleaned["allowed_origins"],
            ).clean()
        except forms.ValidationError as exc:
            self.add_error(None, exc)

    def issue(self) -> tuple[ApiKey, str]:
        """(the new key, its secret) of a valid form."""
        fields = dict(self.cleaned_data)
        expires = fields.pop("expires")
        fields["allowed_models"] = fields["allowed_models"] or None
        fields["expires_at"] = now() + parse_duration(expires) if expires else None
        return ApiKey.issue(self.user, **fields)


class RotationForm(forms.Form):
    overlap = forms.ChoiceField(
        label=_("The present secret goes on to work"), choices=OVERLAPS, initial="1d"
    )

    @property
    def overlap_duration(self) -> timedelta:
        """The overlap of a valid form."""
        chosen: str = self.cleaned_data["overlap"]
        return timedelta(0) if chosen == "0" else parse_duration(chosen)
