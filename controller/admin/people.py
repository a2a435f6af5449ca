"""Users, their teams, and the groups that give staff its permissions."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from controller.admin.base import AnnouncingAdmin, ConsoleAdmin
from controller.models import Membership, Team, User

POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")

admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(StockUserAdmin, AnnouncingAdmin):  # type: ignore[type-arg]
    announced_topic = "keys"  # a key is refused when its owner may not sign in
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = (
        "username",
        "email",
        "is_active",
        "is_staff",
        "is_superuser",
        "last_login",
        "date_joined",
        "keys",
    )
    list_filter = ("is_active", "is_staff", "is_superuser", "teams")
    ordering = ("username",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = super().get_queryset(request)
        return users.annotate(num_keys=Count("api_keys"))

    @admin.display(description=_("API keys"), ordering="num_keys")
    def keys(self, user: Any) -> str:
        """How many, as a link to the list of them."""
        url = reverse("admin:controller_apikey_changelist")
        return format_html('<a href="{}?user={}">{}</a>', url, user.pk, user.num_keys)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Only a superuser hands out powers, else changing users would be one."""
        fixed = ["last_login", "date_joined"]
        return fixed if _is_superuser(request) else [*fixed, *POWERS]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever could set a superuser's password could become one."""
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and _may_touch(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Deleting in bulk would pass by what is asked for each user."""
        actions: dict[str, Any] = super().get_actions(request)
        if not _is_superuser(request):
            actions.pop("delete_selected", None)
        return actions


def _is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    return user is None or _is_superuser(request) or not user.is_superuser


@admin.register(Group)
class GroupAdmin(StockGroupAdmin, ConsoleAdmin):
    """What staff may do, by name."""


class MembershipInline(TabularInline):  # type: ignore[misc]  # no types
    model = Membership
    autocomplete_fields = ("user",)
    hide_title = True
    extra = 0


@admin.register(Team)
class TeamAdmin(AnnouncingAdmin):
    announced_topic = "keys"  # keys belong to teams
    inlines = (MembershipInline,)
    list_display = ("name", "num_members", "created_at")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        teams: QuerySet[Team] = super().get_queryset(request)
        return teams.annotate(num_members=Count("memberships"))

    @admin.display(description=_("members"), ordering="num_members")
    def num_members(self, team: Any) -> int:
        return int(team.num_members)
