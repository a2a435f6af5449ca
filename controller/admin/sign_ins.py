"""How people sign in: their second factors, sessions and accounts elsewhere.

Operators look, and take away: secrets are never shown, and nothing is made here.
"""

from collections.abc import Iterable
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from controller.accounts.second_factor import take_away
from controller.admin.base import LongRecordAdmin
from controller.audit.events import SESSION_ENDED, record

# Providers come from the environment, and their tokens are not kept.
for _model in (SocialApp, SocialToken, SocialAccount, Authenticator, UserSession):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


class TakingAdmin(LongRecordAdmin):
    """Rows that their owners make, and operators may take away."""

    list_select_related = ("user",)
    search_fields = ("user__username", "user__email")
    search_help_text = _("Username or address")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of a superuser only another superuser takes them: without the second factor
        the password is enough."""
        allowed: bool = super().has_delete_permission(request, obj)
        is_superuser = bool(getattr(request.user, "is_superuser", False))
        return allowed and (is_superuser or obj is None or not obj.user.is_superuser)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Deleting in bulk would pass by what is asked for each row."""
        actions: dict[str, Any] = super().get_actions(request)
        if not getattr(request.user, "is_superuser", False):
            actions.pop("delete_selected", None)
        return actions


@admin.register(Authenticator)
class AuthenticatorAdmin(TakingAdmin):
    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    fields = readonly_fields = list_display

    def delete_model(self, request: HttpRequest, obj: Authenticator) -> None:
        take_away([obj])

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[Authenticator]
    ) -> None:
        take_away(queryset)


@admin.register(SocialAccount)
class SocialAccountAdmin(TakingAdmin):
    list_display = ("user", "provider", "uid", "date_joined", "last_login")
    list_filter = ("provider",)
    fields = readonly_fields = list_display


@admin.register(UserSession)
class UserSessionAdmin(TakingAdmin):
    """Deleting one signs that browser out."""

    list_display = ("user", "ip", "user_agent", "created_at")
    fields = readonly_fields = list_display
    ordering = ("-created_at",)

    def audit_deletions(self, rows: Iterable[UserSession]) -> None:
        """As what happened to the account, whose rows forget it when it is deleted."""
        record((session.user for session in rows), SESSION_ENDED)

    def delete_model(self, request: HttpRequest, obj: UserSession) -> None:
        obj.end()

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[UserSession]
    ) -> None:
        for session in queryset:
            session.end()
