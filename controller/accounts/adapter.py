"""How django-allauth learns who may make an account, and what the site is called."""

from dataclasses import dataclass, field
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from controller.accounts import sign_up
from controller.accounts.invitations import presented_invitation
from controller.addresses import client_ip
from controller.audit import events
from controller.identity import encryption
from controller.models import Invitation, User
from controller.site_address import at_public_url


@dataclass(frozen=True, slots=True)
class Site:
    """The site as templates of letters know it."""

    name: str = field(default_factory=lambda: settings.SITE_NAME)
    # Letters say that an account was made "on" it.
    domain: str = field(
        default_factory=lambda: settings.PUBLIC_URL or settings.SITE_NAME
    )


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # untyped library
    """Sign-up as SIGN_UP says; limits counted by the client's own address."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return sign_up.is_open_to(request)

    def clean_email(self, email: str) -> str:
        """An invitation to an address makes an account of that address only."""
        invitation = self._invitation()
        if invitation and not invitation.is_for(email):
            raise ValidationError(
                _("This invitation is for %(email)s."),
                params={"email": invitation.email},
            )
        return str(super().clean_email(email))

    def save_user(
        self, request: HttpRequest, user: User, form: BaseForm, commit: bool = True
    ) -> User:
        if _is_of_provider(form):  # SocialAccountAdapter lets it in
            return super().save_user(request, user, form, commit)  # type: ignore[no-any-return]
        user.language = get_language() or ""
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit)
            sign_up.admit(request, saved)
        return saved

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        """The page that says why: the account waits for an operator, or is closed."""
        context = {"waits": user.approval_asked_at is not None, "account": user}
        return render(request, "account/account_inactive.html", context)

    def send_mail(
        self, template_prefix: str, email: str, context: dict[str, Any]
    ) -> None:
        """Letters call the site by SITE_NAME and lead to PUBLIC_URL, not to the host of
        one request; they are also sent where there is none. They are in the language of
        who gets them, not of the operator whose decision they tell; else in the
        page's."""
        links = {
            name: at_public_url(url)
            for name, url in context.items()
            if name.endswith("_url") and isinstance(url, str)
        }
        words = {"email": email, "current_site": Site()} | context | links
        reader: User | None = context.get("user")
        with override((reader and reader.language) or get_language()):
            self.render_mail(template_prefix, email, words).send()

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_ip(
            request.META.get("REMOTE_ADDR", ""),
            request.headers.get("X-Forwarded-For", ""),
            settings.TRUSTED_PROXIES,
        )

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """As the library's, and the audit log tells of those who guessed too often."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            events.on_held_back(credentials)
            raise

    def _get_login_attempts_cache_key(
        self, request: HttpRequest, **credentials: Any
    ) -> str:
        """Failures count by the account alone. The library's own key has the Host too,
        of which a client may choose the port: each would begin a new count."""
        login = credentials.get("email") or credentials.get("username", "")
        return str(login).lower()

    def _invitation(self) -> Invitation | None:
        """The invitation of the sign-up going on; None on every other page."""
        request: HttpRequest | None = self.request
        if request is None or request.path != reverse("account_signup"):
            return None
        return presented_invitation(request)


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # untyped
    """Accounts of those whom a provider of sign-in vouches for."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return sign_up.is_open_to(request, by_provider=True)

    def save_user(
        self,
        request: HttpRequest,
        sociallogin: SocialLogin,
        form: BaseForm | None = None,
    ) -> User:
        sociallogin.user.language = get_language() or ""
        with transaction.atomic():
            user: User = super().save_user(request, sociallogin, form)
            sign_up.admit(request, user, by_provider=True)
        return user


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # untyped library
    """Secrets of second factors are encrypted as engine keys are."""

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return encryption.decrypt(encrypted_text)

    def _get_site_name(self) -> str:
        return settings.SITE_NAME


def _is_of_provider(form: BaseForm) -> bool:
    return hasattr(form, "sociallogin")
