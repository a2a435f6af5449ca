"""Join tokens: how a worker is added."""

import shlex
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from controller.addresses import parse_networks
from controller.admin.base import NotedSecretAdmin
from controller.admin.confirming import confirmed
from controller.admin.secret_states import COLOURS, SecretState, shown
from controller.models import JoinToken, User
from controller.site_address import site_address

ENGINES = (
    ("vllm_worker", _("A worker with vLLM")),
    ("model_worker", _("A worker with transformers")),
)


class JoinTokenForm(forms.ModelForm):  # type: ignore[type-arg]
    networks = forms.CharField(
        label=_("Networks"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_(
            "The worker's address must lie in one of these, such as 10.1.0.0/16;"
            " empty: anywhere that ALLOWED_WORKER_NETWORKS allows."
        ),
    )

    class Meta:
        model = JoinToken
        fields = ("note", "is_reusable", "expires_at", "is_keyless", "networks")

    def clean_networks(self) -> list[str]:
        try:
            return parse_networks(self.cleaned_data["networks"])
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at and expires_at <= now():
            raise forms.ValidationError(_("This moment has passed."))
        return expires_at


def join_command(
    controller_address: str, module: str, secret: str, model: str = ""
) -> str:
    """What starts a worker of this kind; the token is never an argument, which every
    user of that machine could read."""
    model_path = shlex.quote(model) if model else "PATH_OR_NAME"
    return (
        f"SWITCHYARD_JOIN_TOKEN={secret} \\\n"
        f"  python -m workers.{module} --model-path {model_path} \\\n"
        f"  --controller-address {controller_address}"
    )


@admin.register(JoinToken)
class JoinTokenAdmin(NotedSecretAdmin):
    issued_template = "controller/admin/join_token_issued.html"
    form = JoinTokenForm
    form_fields = JoinTokenForm.Meta.fields
    kept_fields = (
        "prefix",
        "state_in_words",
        "is_reusable",
        "is_keyless",
        "bound_to",
        "created_by",
        "created_at",
        "expires_at",
        "used_at",
        "revoked_at",
    )
    list_display = (
        "prefix",
        "shown_state",
        "note",
        "is_reusable",
        "is_keyless",
        "created_by",
        "created_at",
        "expires_at",
        "used_at",
    )
    list_select_related = ("created_by",)
    list_filter = ("is_reusable", "is_keyless")
    search_fields = ("prefix", "note")
    search_help_text = _("Beginning of the token, or note")
    actions = ("revoke",)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"expires_at": now() + timedelta(days=1)} | initial

    def issue(
        self, request: HttpRequest, fields: dict[str, Any]
    ) -> tuple[JoinToken, str]:
        return JoinToken.issue(created_by=cast("User", request.user), **fields)

    def issued_context(
        self, request: HttpRequest, obj: Any, secret: str
    ) -> dict[str, Any]:
        return {
            "once": _("Copy the token now: it is stored as a digest, not shown again."),
            "commands": [
                {
                    "id": module,
                    "title": title,
                    "text": join_command(site_address(request), module, secret),
                }
                for module, title in ENGINES
            ],
            "workers_url": reverse("admin:controller_worker_changelist"),
        }

    @display(description=_("state"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, token: JoinToken) -> tuple[str, Any]:
        if token.revoked_at:
            return shown(SecretState.REVOKED)
        if token.used_at and not token.is_reusable:
            return shown(SecretState.USED)
        if token.expires_at and token.expires_at <= now():
            return shown(SecretState.EXPIRED)
        return shown(SecretState.USABLE)

    @admin.display(description=_("state"))
    def state_in_words(self, token: JoinToken) -> str:
        return str(self.shown_state(token)[1])

    @admin.display(description=_("networks"))
    def bound_to(self, token: JoinToken) -> str:
        return ", ".join(token.networks) or str(_("any that is allowed"))

    @admin.action(description=_("Revoke"), permissions=["change"])
    @confirmed(_("No worker joins with them any more. Those that have joined stay."))
    def revoke(self, request: HttpRequest, tokens: QuerySet[JoinToken]) -> None:
        unrevoked = list(tokens.filter(revoked_at=None))
        for token in unrevoked:
            token.revoke()
            self.log_change(request, token, gettext_noop("Revoked."))
        words = ngettext("%d token revoked.", "%d tokens revoked.", len(unrevoked))
        self.message_user(request, words % len(unrevoked))
