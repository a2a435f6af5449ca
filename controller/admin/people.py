"""Users, their teams, and the groups that give staff its permissions."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.admin import TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from controller.accounts import approval
from controller.accounts.deletion import delete_account, superusers_but
from controller.accounts.email import keep_address_of
from controller.accounts.roles import AUDITORS, OPERATORS
from controller.accounts.teams import (
    delete_teams,
    models_for_only,
    revoke_keys_of_strangers,
)
from controller.admin.base import AnnouncingAdmin, ConsoleAdmin, KeptRecordAdmin
from controller.admin.confirming import confirmed
from controller.admin.permissions import PermissionsInWords
from controller.models import DeletionReceipt, Membership, ServedModel, Team, User

POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")
LAST_ONE = _("It is the last account with all powers: give them to another first.")

admin.site.unregister(Group)


class WaitsFilter(admin.SimpleListFilter):
    title = _("approval")
    parameter_name = "approval"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("waits", _("waits for approval"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        if self.value() == "waits":
            return queryset.filter(approval_asked_at__isnull=False)
        return queryset


class GuestFilter(admin.SimpleListFilter):
    title = _("guests")
    parameter_name = "guests"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("no", _("people")), ("yes", _("guests"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        match self.value():
            case "no":
                return queryset.filter(guest_link=None)
            case "yes":
                return queryset.exclude(guest_link=None)
        return queryset


class UserForm(UserChangeForm):  # type: ignore[misc]  # no types
    def clean_email(self) -> str:
        """In small letters, as django-allauth looks for addresses."""
        email: str = self.cleaned_data["email"]
        return email.lower()

    def clean(self) -> dict[str, Any]:
        """Somebody keeps all powers: without, only a shell would bring them back."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        keeps = cleaned.get("is_superuser", True) and cleaned.get("is_active", True)
        had = self.instance.is_superuser and self.instance.is_active
        if had and not keeps and not superusers_but([self.instance.pk]).exists():
            raise forms.ValidationError(LAST_ONE)
        return cleaned


@admin.register(User)
class UserAdmin(PermissionsInWords, StockUserAdmin, AnnouncingAdmin):  # type: ignore[type-arg]
    announced_topic = "keys"  # a key is refused when its owner may not sign in
    form = UserForm
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
    list_filter = (
        WaitsFilter,
        GuestFilter,
        "is_active",
        "is_staff",
        "is_superuser",
        "teams",
    )
    ordering = ("username",)
    actions = ("approve", "refuse")

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

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            keep_address_of(obj)

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        """Whoever is given a role can also enter the console."""
        super().save_related(request, form, formsets, change)
        user: User = form.instance
        roles = user.groups.filter(name__in=(OPERATORS, AUDITORS))
        if not user.is_staff and "groups" in form.changed_data and roles.exists():
            user.is_staff = True
            user.save(update_fields=["is_staff"])

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Whoever may delete an account deletes what belongs to it, with no permission
        for each kind of it: some the console only shows."""
        shown, counts, _needed, protected = super().get_deleted_objects(objs, request)
        powerful = [user.pk for user in objs if user.is_superuser and user.is_active]
        if powerful and not superusers_but(powerful).exists():
            protected = [*protected, str(LAST_ONE)]
        return shown, counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        receipt = delete_account(obj)
        self.message_user(request, _("The receipt of the deletion: %s") % receipt)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            delete_account(user)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Who may let new accounts in."""
        return request.user.has_perm("controller.change_user")

    def has_refuse_permission(self, request: HttpRequest) -> bool:
        """Refusing deletes the account."""
        return request.user.has_perm("controller.delete_user")

    @admin.action(description=_("Approve: let them in"), permissions=["decide"])
    def approve(self, request: HttpRequest, users: QuerySet[User]) -> None:
        approved = [user for user in users if approval.approve(user)]
        for user in approved:
            self.log_change(request, user, gettext_noop("Approved."))
        words = ngettext("%d account let in.", "%d accounts let in.", len(approved))
        self.message_user(request, words % len(approved))

    @admin.action(
        description=_("Refuse: delete those that wait"), permissions=["refuse"]
    )
    @confirmed(_("Those of them that wait for approval are deleted, and told so."))
    def refuse(self, request: HttpRequest, users: QuerySet[User]) -> None:
        num_refused = sum(approval.refuse(user) for user in users)
        words = ngettext("%d account refused.", "%d accounts refused.", num_refused)
        self.message_user(request, words % num_refused)

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
class GroupAdmin(PermissionsInWords, StockGroupAdmin, ConsoleAdmin):  # type: ignore[misc]
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

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        """Who is taken out of a team loses the keys that they made for it."""
        super().save_related(request, form, formsets, change)
        if num_revoked := revoke_keys_of_strangers(form.instance):
            words = ngettext("%d key revoked.", "%d keys revoked.", num_revoked)
            self.message_user(request, words % num_revoked)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Besides what belongs to a team: models that would be everybody's without it
        stand in the way."""
        *found, protected = super().get_deleted_objects(objs, request)
        models = models_for_only([team.pk for team in objs])
        return *found, [*protected, *map(_linked, models)]

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        delete_teams([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Team]) -> None:
        delete_teams(queryset)

    @admin.display(description=_("members"), ordering="num_members")
    def num_members(self, team: Any) -> int:
        return int(team.num_members)


def _linked(served_model: ServedModel) -> SafeString:
    url = reverse("admin:controller_servedmodel_change", args=[served_model.pk])
    words = _("Model for these teams alone")
    return format_html('{}: <a href="{}">{}</a>', words, url, served_model)


@admin.register(DeletionReceipt)
class DeletionReceiptAdmin(KeptRecordAdmin):
    """Read only: a receipt proves something because nobody writes it."""

    list_display = ("id", "deleted_at", "num_rows")
    fields = readonly_fields = ("id", "deleted_at", "deleted", "sha256")
    search_fields = ("id__exact", "sha256__exact")
    search_help_text = _("A whole id or hash")

    @admin.display(description=_("rows"))
    def num_rows(self, receipt: DeletionReceipt) -> int:
        return sum(each["rows"] for each in receipt.deleted.values())
