"""Guest links: how people chat for a while without an account."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectMultipleWidget,
)

from controller.admin.base import NotedSecretAdmin
from controller.admin.confirming import confirmed
from controller.admin.secret_states import COLOURS, SecretState, shown
from controller.guests.links import FIRST_LIMITS, make_link, path_of, revoke
from controller.guests.use import use_of
from controller.models import GuestLink, Limit, ServedModel, User
from controller.models.limits import MAX_COUNT
from controller.site_address import site_origin

REQUESTS, TOKENS = Limit.Kind.REQUESTS_PER_MINUTE, Limit.Kind.TOKENS_PER_DAY


class GuestLinkForm(forms.ModelForm):  # type: ignore[type-arg]
    models = forms.MultipleChoiceField(
        label=_("Models"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget,
        help_text=_("What guests may ask; none: every model that is for everybody."),
    )
    requests_per_minute = forms.IntegerField(
        label=_("Requests per minute"),
        required=False,
        min_value=0,
        max_value=MAX_COUNT,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("Of all its guests together; empty: no such limit."),
    )
    tokens_per_day = forms.IntegerField(
        label=_("Tokens per day"),
        required=False,
        min_value=0,
        max_value=MAX_COUNT,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("Of all its guests together; empty: no such limit."),
    )

    class Meta:
        model = GuestLink
        fields = ("note", "expires_at", "max_guests")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = ServedModel.objects.filter(is_enabled=True).values_list("name")
        choices = [(name, name) for (name,) in names.order_by("name")]
        self.fields["models"].choices = choices  # type: ignore[attr-defined]

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        GuestLink.check_end(expires_at)
        return expires_at


@admin.register(GuestLink)
class GuestLinkAdmin(NotedSecretAdmin):
    issued_template = "controller/admin/guest_link_issued.html"
    form = GuestLinkForm
    form_fields = (
        *GuestLinkForm.Meta.fields,
        "models",
        "requests_per_minute",
        "tokens_per_day",
    )
    kept_fields = (
        "prefix",
        "state_in_words",
        "shown_guests",
        "shown_use",
        "opened",
        "limits",
        "created_by",
        "created_at",
        "expires_at",
        "revoked_at",
    )
    list_display = (
        "prefix",
        "shown_state",
        "note",
        "shown_guests",
        "shown_use",
        "expires_at",
        "created_by",
        "created_at",
    )
    list_select_related = ("created_by", "team")
    search_fields = ("prefix", "note")
    search_help_text = _("Beginning of the link after link=, or note")
    actions = ("revoke",)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With what the guests of all the links on the page used, read at once."""
        page = super().get_changelist_instance(request)
        used = use_of(page.result_list)
        for link in page.result_list:
            link.used = used[link.pk]
        return page

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        limits = {kind.value: FIRST_LIMITS[kind] for kind in (REQUESTS, TOKENS)}
        return {**limits, **initial}

    def issue(
        self, request: HttpRequest, fields: dict[str, Any]
    ) -> tuple[GuestLink, str]:
        return make_link(
            cast("User", request.user),
            note=fields["note"],
            expires_at=fields["expires_at"],
            max_guests=fields["max_guests"],
            allowed_models=fields["models"] or None,
            limits={
                REQUESTS: fields["requests_per_minute"],
                TOKENS: fields["tokens_per_day"],
            },
        )

    def issued_context(
        self, request: HttpRequest, obj: Any, secret: str
    ) -> dict[str, Any]:
        return {
            "once": _("Copy the link now: it is stored as a digest, not shown again."),
            "link": site_origin(request) + path_of(secret),
        }

    @display(description=_("state"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, link: GuestLink) -> tuple[str, Any]:
        if link.revoked_at:
            return shown(SecretState.REVOKED)
        if link.has_expired:
            return shown(SecretState.EXPIRED)
        return shown(SecretState.USED if link.is_full else SecretState.USABLE)

    @admin.display(description=_("state"))
    def state_in_words(self, link: GuestLink) -> str:
        return str(self.shown_state(link)[1])

    @admin.display(description=_("guests"), ordering="num_guests")
    def shown_guests(self, link: GuestLink) -> str:
        """How many came, of how many, as a link to those who are still there."""
        number = f"{link.num_guests:,}"
        if link.max_guests is not None:
            words = {"number": number, "most": f"{link.max_guests:,}"}
            number = _("%(number)s of %(most)s") % words
        url = reverse("admin:controller_user_changelist")
        return format_html('<a href="{}?guest_link={}">{}</a>', url, link.pk, number)

    @admin.display(description=_("used"))
    def shown_use(self, link: Any) -> str:
        tally = getattr(link, "used", None) or use_of([link])[link.pk]
        return _("%(tokens)s tokens, %(requests)s requests") % {
            "tokens": f"{tally.tokens:,}",
            "requests": f"{tally.num_requests:,}",
        }

    @admin.display(description=_("models"))
    def opened(self, link: GuestLink) -> str:
        if link.allowed_models is None:
            return str(_("every model that is for everybody"))
        return ", ".join(link.allowed_models)

    @admin.display(description=_("limits"))
    def limits(self, link: GuestLink) -> str:
        """As a link to the list where they are changed."""
        url = reverse("admin:controller_limit_changelist")
        return format_html('<a href="{}?q={}">{}</a>', url, link.team, link.team)

    @admin.action(description=_("Revoke"), permissions=["change"])
    @confirmed(
        _("Their guests are sent away at once, and nobody comes in by them again.")
    )
    def revoke(self, request: HttpRequest, links: QuerySet[GuestLink]) -> None:
        unrevoked = list(links.filter(revoked_at=None))
        for link in unrevoked:
            revoke(link)
            self.log_change(request, link, gettext_noop("Revoked."))
        words = ngettext("%d link revoked.", "%d links revoked.", len(unrevoked))
        self.message_user(request, words % len(unrevoked))
