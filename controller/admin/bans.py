"""Bans: who may not use models, why, and until when."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.decorators import display

from controller.admin.base import AnnouncingAdmin
from controller.models import Ban, User
from controller.models.bans import BanQuerySet

COLOURS = {"in_force": "danger", "over": "success"}


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("in_force", _("in force")), ("over", _("over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Ban]) -> QuerySet[Ban]:
        assert isinstance(queryset, BanQuerySet)
        match self.value():
            case "in_force":
                return queryset.in_force()
            case "over":
                return queryset.over()
        return queryset


class BanForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_ends_at(self) -> Any:
        ends_at = self.cleaned_data["ends_at"]
        if ends_at and ends_at <= now():
            raise forms.ValidationError(_("This moment has passed."))
        return ends_at


@admin.register(Ban)
class BanAdmin(AnnouncingAdmin):
    """A ban is not changed once it is told: it is lifted, and another one made."""

    announced_topic = "moderation"
    form = BanForm
    list_display = (
        "user",
        "shown_state",
        "reason",
        "by_strikes",
        "created_by",
        "created_at",
        "ends_at",
        "lifted_at",
        "lifted_by",
    )
    list_select_related = ("user", "created_by", "lifted_by")
    list_filter = (StateFilter, "by_strikes")
    search_fields = ("user__username", "reason", "note")
    search_help_text = _("User, reason or note")
    autocomplete_fields = ("user",)
    fields = ("user", "reason", "ends_at", "note")
    actions = ("lift",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_lift_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("controller.change_ban")

    def save_model(
        self,
        request: HttpRequest,
        obj: models.Model,
        form: "forms.ModelForm[Any]",
        change: bool,
    ) -> None:
        cast("Ban", obj).created_by = cast("User", request.user)
        super().save_model(request, obj, form, change)

    @display(description=_("state"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, ban: Ban) -> tuple[str, Any]:
        if ban.is_in_force:
            return "in_force", _("in force")
        return "over", _("lifted") if ban.lifted_at else _("over")

    @admin.action(description=_("Lift"), permissions=["lift"])
    def lift(self, request: HttpRequest, bans: BanQuerySet) -> None:
        for ban in bans.in_force():
            self.log_change(request, ban, gettext_noop("Lifted."))
        num_lifted = bans.lift(cast("User", request.user))
        words = ngettext("%d ban lifted.", "%d bans lifted.", num_lifted)
        self.message_user(request, words % num_lifted)
