"""What operators tell everybody: announcements and terms of use."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from controller.admin.base import ConsoleAdmin, LongRecordAdmin
from controller.models import Announcement, TermsConsent, TermsVersion


@admin.register(Announcement)
class AnnouncementAdmin(ConsoleAdmin):
    list_display = ("text", "level", "begins_at", "ends_at", "is_dismissible")
    list_filter = ("level",)
    search_fields = ("text",)


@admin.register(TermsVersion)
class TermsVersionAdmin(ConsoleAdmin):
    """Published once, then fixed: people agreed to this text and no other."""

    list_display = ("version", "published_at", "num_consents")
    search_fields = ("version", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TermsVersion]:
        versions: QuerySet[TermsVersion] = super().get_queryset(request)
        return versions.annotate(num_agreed=Count("consents"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["version", "text", "published_at"] if _is_fixed(obj) else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not _is_fixed(obj)

    @admin.display(description=_("agreed"), ordering="num_agreed")
    def num_consents(self, terms: Any) -> int:
        return int(terms.num_agreed)


@admin.register(TermsConsent)
class TermsConsentAdmin(LongRecordAdmin):
    """Read only: people agree for themselves."""

    list_display = ("user", "terms", "agreed_at", "address")
    list_select_related = ("user", "terms")
    list_filter = ("terms",)
    search_fields = ("user__username",)
    fields = readonly_fields = list_display

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Goes with the account, whose page asks here, and with nothing else."""
        match = request.resolver_match
        of_user = match is not None and "controller_user" in (match.url_name or "")
        return of_user and request.user.has_perm("controller.delete_user")


def _is_fixed(terms: Any) -> bool:
    return terms is not None and terms.consents.exists()
