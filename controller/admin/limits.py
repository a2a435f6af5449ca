"""Limits and budgets: whose they are, and what of them is used."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from controller.admin.base import AnnouncingAdmin
from controller.limits.standing import standing, with_current_spendings
from controller.models import Limit


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("key", _("an API key")),
            ("user", _("a user")),
            ("team", _("a team")),
            ("everyone", _("everyone")),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Limit]
    ) -> QuerySet[Limit]:
        match self.value():
            case "everyone":
                return queryset.filter(key=None, user=None, team=None)
            case "key" | "user" | "team" as owner:
                return queryset.filter(**{f"{owner}__isnull": False})
        return queryset


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Limit
        fields = ("key", "user", "team", "kind", "amount")
        labels = {"kind": _("What it limits")}
        help_texts = {
            "team": _("Choose one of the three; none of them: everyone together."),
            "amount": _("0 refuses everything. Money in your currency."),
        }


@admin.register(Limit)
class LimitAdmin(AnnouncingAdmin):
    announced_topic = "keys"
    form = LimitForm
    autocomplete_fields = ("key", "user", "team")
    list_display = ("shown_owner", "kind", "shown_amount", "used", "created_at")
    list_filter = (OwnerFilter, "kind")
    search_fields = ("key__name", "key__prefix", "user__username", "team__name")
    search_help_text = _("Key, user or team")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Limit]:
        return with_current_spendings(super().get_queryset(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """What is used belongs to this owner and kind."""
        return ["key", "user", "team", "kind"] if obj else []

    @admin.display(description=_("owner"))
    def shown_owner(self, limit: Limit) -> str:
        return limit.full_owner_in_words

    @admin.display(description=_("amount"), ordering="amount")
    def shown_amount(self, limit: Limit) -> str:
        return limit.in_words(limit.units)

    @admin.display(description=_("used"))
    def used(self, limit: Limit) -> str:
        """Of budgets, in this day or month; rates are counted in web processes."""
        now = standing(limit)
        if now.used is None:
            return "-"
        percent = 100 * now.used / limit.units if limit.units else 100
        return f"{now.used_in_words} ({percent:.0f} %)"
