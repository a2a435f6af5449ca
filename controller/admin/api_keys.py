"""API keys: shown once, then known by their beginning."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminTextInputWidget,
)

from controller.admin.base import AnnouncingAdmin, IssuingAdmin
from controller.admin.confirming import confirmed
from controller.admin.secret_states import COLOURS, SecretState, shown
from controller.durations import parse_duration, rough
from controller.forms import NetworksField, OriginsField
from controller.identity.snippets import snippets
from controller.models import ApiKey, ModelAlias, ServedModel
from controller.site_address import site_address

# What the system writes of a key.
SHOWN_FIELDS = (
    "prefix",
    "state_in_words",
    "created_at",
    "last_used_at",
    "overlap",
    "is_imported",
)


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (state.value, state.label)
            for state in (
                SecretState.USABLE,
                SecretState.EXPIRED,
                SecretState.REVOKED,
            )
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ApiKey]
    ) -> QuerySet[ApiKey]:
        unrevoked = queryset.filter(revoked_at=None)
        match self.value():
            case SecretState.USABLE:
                return unrevoked.exclude(expires_at__lte=now())
            case SecretState.EXPIRED:
                return unrevoked.filter(expires_at__lte=now())
            case SecretState.REVOKED:
                return queryset.exclude(revoked_at=None)
        return queryset


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=ApiKey.Scope.choices,
        initial=[ApiKey.Scope.INFERENCE.value],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    allowed_models = forms.MultipleChoiceField(
        label=_("Allowed models"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=_("None chosen: every model."),
    )
    allowed_endpoints = forms.MultipleChoiceField(
        label=_("Allowed endpoints"),
        choices=ApiKey.Endpoint.choices,
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=_("None chosen: every endpoint."),
    )
    allowed_networks = NetworksField(
        label=_("Allowed networks"),
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Where clients may be, such as 10.1.0.0/16; empty: anywhere."),
    )
    allowed_origins = OriginsField(
        label=_("Allowed origins"),
        widget=UnfoldAdminTextInputWidget,
        help_text=_(
            "Whose web pages may use it, such as https://app.example.com; empty: any"
            " that the allowed origins of this site let call."
        ),
    )

    class Meta:
        model = ApiKey
        fields = (
            "user",
            "name",
            "team",
            "is_publishable",
            "scopes",
            "allowed_models",
            "allowed_endpoints",
            "allowed_networks",
            "allowed_origins",
            "max_concurrent",
            "expires_at",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = {
            *ServedModel.objects.values_list("name", flat=True),
            *ModelAlias.objects.values_list("name", flat=True),
            *(self.instance.allowed_models or ()),  # also of models that went
        }
        field = self.fields["allowed_models"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(name, name) for name in sorted(names)]

    def clean_allowed_models(self) -> list[str] | None:
        return self.cleaned_data["allowed_models"] or None

    def clean_max_concurrent(self) -> int | None:
        ceiling: int | None = self.cleaned_data["max_concurrent"]
        if ceiling == 0:
            raise forms.ValidationError(
                _("At least 1; to refuse every request, revoke the key.")
            )
        return ceiling

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data and expires_at and expires_at <= now():
            raise forms.ValidationError(
                _("This moment has passed; to end the key now, revoke it.")
            )
        return expires_at

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        user = cleaned.get("user") or (self.instance.pk and self.instance.user)
        team = cleaned.get("team")
        if user and team and not team.memberships.filter(user=user).exists():
            self.add_error(
                "team", _("%(user)s is not a member.") % {"user": user.get_username()}
            )
        return cleaned


class RotationForm(forms.Form):
    overlap = forms.CharField(
        label=_("Overlap"),
        initial="1d",
        widget=UnfoldAdminTextInputWidget,
        help_text=_(
            "How long the present secret is taken besides the new one, such as 10m, 1d"
            " or 7d; 0 to end it now."
        ),
    )

    def clean_overlap(self) -> timedelta:
        text: str = self.cleaned_data["overlap"].strip()
        if text == "0":
            return timedelta(0)
        try:
            return parse_duration(text)
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc


@admin.register(ApiKey)
class ApiKeyAdmin(IssuingAdmin, AnnouncingAdmin):
    announced_topic = "keys"
    issued_template = "controller/admin/api_key_issued.html"
    form = ApiKeyForm
    autocomplete_fields = ("user", "team")
    list_display = (
        "name",
        "prefix",
        "shown_state",
        "user",
        "team",
        "scopes_shown",
        "last_used",
        "expires_at",
    )
    list_select_related = ("user", "team")
    list_filter = (StateFilter,)
    search_fields = ("prefix", "name", "user__username", "user__email")
    search_help_text = _("Beginning of the key, name or owner")
    actions = ("revoke",)
    actions_detail = ("rotate",)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"user": request.user.pk} | initial

    def has_rotate_permission(
        self, request: HttpRequest, object_id: Any = None
    ) -> bool:
        """Who may change it; a revoked key gets no new secret."""
        rotatable = ApiKey.objects.unrevoked().filter(pk=object_id)
        return bool(self.has_change_permission(request)) and rotatable.exists()

    def issue(self, request: HttpRequest, fields: dict[str, Any]) -> tuple[ApiKey, str]:
        return ApiKey.issue(**fields)

    def issued_context(
        self, request: HttpRequest, obj: Any, secret: str
    ) -> dict[str, Any]:
        model = (obj.allowed_models or [None])[0] or (
            ServedModel.objects.filter(is_enabled=True)
            .values_list("name", flat=True)
            .first()
        )
        return {
            "once": _("Copy the key now: it is stored as a digest, not shown again."),
            "snippets": snippets(
                f"{site_address(request)}/v1",
                secret,
                model,
                is_publishable=obj.is_publishable,
            ),
        }

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return []
        return ["user", "is_publishable", *SHOWN_FIELDS]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        editable = list(ApiKeyForm.Meta.fields)
        return editable if obj is None else [*editable, *SHOWN_FIELDS]

    @display(description=_("state"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, key: ApiKey) -> tuple[str, Any]:
        if key.revoked_at:
            return shown(SecretState.REVOKED)
        return shown(SecretState.EXPIRED if key.is_expired else SecretState.USABLE)

    @admin.display(description=_("state"))
    def state_in_words(self, key: ApiKey) -> str:
        return str(self.shown_state(key)[1])

    @admin.display(description=_("scopes"))
    def scopes_shown(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description=_("last used"), ordering="last_used_at")
    def last_used(self, key: ApiKey) -> str:
        if key.last_used_at is None:
            return str(_("never"))
        return str(_("%s ago") % rough(now() - key.last_used_at))

    @admin.display(description=_("secret before the last rotation"))
    def overlap(self, key: ApiKey) -> str:
        if not key.previous_prefix or key.previous_expires_at is None:
            return "-"
        used = key.previous_last_used_at
        words = _("%(prefix)s…, %(used)s, %(end)s") % {
            "prefix": key.previous_prefix,
            "used": _("last used %s ago") % rough(now() - used)
            if used
            else _("never used"),
            "end": _("taken for another %s") % rough(key.previous_expires_at - now())
            if key.is_in_overlap
            else _("no longer taken"),
        }
        return str(words)

    @admin.display(description=_("made elsewhere"), boolean=True)
    def is_imported(self, key: ApiKey) -> bool:
        return key.imported_digest is not None

    @action(  # type: ignore[untyped-decorator]
        description=_("Rotate"), icon="autorenew", permissions=["rotate"]
    )
    def rotate(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A form that asks for the overlap; its answer shows the new secret once."""
        key = get_object_or_404(ApiKey.objects.unrevoked(), pk=object_id)
        form = RotationForm(request.POST or None)
        if form.is_valid():
            request.issued_secret = key.rotate(  # type: ignore[attr-defined]
                form.cleaned_data["overlap"]
            )
            self.log_change(request, key, gettext_noop("Rotated."))
            return self.response_add(request, key)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Rotate %s") % key,
            "form": form,
            "row": key,
        }
        return TemplateResponse(
            request, "controller/admin/api_key_rotation.html", context
        )

    @admin.action(
        description=_("Revoke (refused everywhere, for good)"), permissions=["change"]
    )
    @confirmed(
        _(
            "Programs that use them are refused at once. A revoked key never works"
            " again."
        )
    )
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        unrevoked = list(keys.filter(revoked_at=None))
        for key in unrevoked:
            key.revoke()
            self.log_change(request, key, gettext_noop("Revoked."))
        words = ngettext("%d key revoked.", "%d keys revoked.", len(unrevoked))
        self.message_user(request, words % len(unrevoked))
