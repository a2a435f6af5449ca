"""Invitations: a link by which one person makes an account."""

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from controller.accounts.invitations import invitation_path
from controller.admin.base import IssuingAdmin
from controller.admin.secret_states import COLOURS, SecretState, shown
from controller.models import Invitation, User
from controller.site_address import site_origin


class InvitationForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Invitation
        fields = ("email", "expires_at")
        help_texts = {
            "email": _("If given, the account must have this address."),
        }

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at <= now():
            raise forms.ValidationError(_("This moment has passed."))
        return expires_at


@admin.register(Invitation)
class InvitationAdmin(IssuingAdmin):
    issued_template = "controller/admin/invitation_issued.html"
    form = InvitationForm
    list_display = (
        "prefix",
        "email",
        "shown_state",
        "invited_by",
        "created_at",
        "expires_at",
        "accepted_by",
    )
    list_select_related = ("invited_by", "accepted_by")
    search_fields = ("prefix", "email", "accepted_by__username")

    def issue(
        self, request: HttpRequest, fields: dict[str, Any]
    ) -> tuple[Invitation, str]:
        return Invitation.issue(invited_by=cast("User", request.user), **fields)

    def issued_context(
        self, request: HttpRequest, obj: Any, secret: str
    ) -> dict[str, Any]:
        return {
            "once": _("Copy the link now: it is stored as a digest, not shown again."),
            "link": site_origin(request) + invitation_path(secret),
        }

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # withdrawn by deleting it

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if settings.SIGN_UP == "closed" and request.method == "GET":
            self.message_user(
                request,
                _(
                    "SIGN_UP is closed: nobody can use an invitation until it is open"
                    " or by invitation."
                ),
                messages.WARNING,
            )
        return super().add_view(request, form_url, extra_context)

    @display(description=_("state"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, invitation: Invitation) -> tuple[str, Any]:
        if invitation.accepted_at:
            return shown(SecretState.USED)
        if invitation.expires_at <= now():
            return shown(SecretState.EXPIRED)
        return shown(SecretState.USABLE)
