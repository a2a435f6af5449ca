"""Who may make an account, and how django-allauth learns it."""

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from controller.addresses import client_ip
from controller.identity import secrets
from controller.models import Invitation, User

INVITATION_PARAMETER = "invitation"
# The session keeps the row's id, not the secret: a stolen session table opens nothing.
SESSION_KEY = "invitation_id"


def invitation_path(secret: str) -> str:
    """The path, with query, that an invited person opens."""
    return f"{reverse('account_signup')}?{urlencode({INVITATION_PARAMETER: secret})}"


def presented_invitation(request: HttpRequest) -> Invitation | None:
    """The open invitation whose link this visitor followed, now or a page ago."""
    secret = request.GET.get(INVITATION_PARAMETER, "")
    if secrets.has_right_checksum(secret, secrets.INVITATION):
        found = Invitation.objects.open().filter(digest=secrets.digest(secret)).first()
        if found:
            request.session[SESSION_KEY] = found.pk
        return found
    invitation_id = request.session.get(SESSION_KEY)
    if invitation_id is None:
        return None
    return Invitation.objects.open().filter(pk=invitation_id).first()


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # untyped library
    """Sign-up as SIGN_UP says; limits counted by the client's own address."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        if settings.SIGN_UP == "closed":
            return False
        # Looked at in the open mode too: the link is then used up all the same.
        invitation = presented_invitation(request)
        return settings.SIGN_UP == "open" or invitation is not None

    def clean_email(self, email: str) -> str:
        """An invitation to an address makes an account of that address only."""
        invitation = self._invitation()
        if invitation and invitation.email.lower() not in {"", email.lower()}:
            raise ValidationError(
                _("This invitation is for %(email)s."),
                params={"email": invitation.email},
            )
        return str(super().clean_email(email))

    def save_user(
        self, request: HttpRequest, user: User, form: BaseForm, commit: bool = True
    ) -> User:
        """The saved user, whose invitation is used up in the same transaction.

        Of two people with one invitation, the later one gets the page that says so.
        """
        invitation = presented_invitation(request)
        request.session.pop(SESSION_KEY, None)
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit)
            accepted = invitation is not None and invitation.accept(saved)
            if not accepted and settings.SIGN_UP != "open":
                raise ImmediateHttpResponse(
                    render(request, "account/signup_closed.html", status=403)
                )
        return saved

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_ip(
            request.META.get("REMOTE_ADDR", ""),
            request.headers.get("X-Forwarded-For", ""),
            settings.TRUSTED_PROXIES,
        )

    def _invitation(self) -> Invitation | None:
        """The invitation of the sign-up going on; None on every other page."""
        request: HttpRequest | None = self.request
        if request is None or request.path != reverse("account_signup"):
            return None
        return presented_invitation(request)
