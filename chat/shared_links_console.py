"""What operators see of the chat: links that are open to the world. No texts."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy
from unfold.decorators import display

from chat.models import SharedLink
from chat.models.sharing import SharedLinkQuerySet
from controller.admin.base import ConsoleAdmin
from controller.admin.confirming import confirmed
from controller.models import User


@admin.register(SharedLink)
class SharedLinkAdmin(ConsoleAdmin):
    list_display = (
        "start",
        "owner",
        "kind",
        "created_at",
        "expires_at",
        "state",
    )
    list_select_related = ("conversation__user",)
    list_filter = ("created_at",)
    search_fields = ("token_start", "conversation__user__username")
    search_help_text = _("User, or the first characters of the address after sy-share-")
    list_display_links = None
    sortable_by = ()
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("link"))
    def start(self, link: SharedLink) -> str:
        return str(link)

    @admin.display(description=_("user"))
    def owner(self, link: SharedLink) -> User:
        return link.conversation.user

    @admin.display(description=_("kind"))
    def kind(self, link: SharedLink) -> Any:
        return pgettext_lazy("shared link", "live") if link.is_live else _("snapshot")

    @display(  # type: ignore[untyped-decorator]
        description=_("state"), label={"open": "success", "closed": ""}
    )
    def state(self, link: SharedLink) -> tuple[str, Any]:
        is_open = link.is_usable and link.conversation.deleted_at is None
        return ("open", _("open")) if is_open else ("closed", _("closed"))

    @admin.action(description=_("Revoke"), permissions=["change"])
    @confirmed(
        _(
            "Whoever opens them sees nothing any more. A revoked link is not opened"
            " again."
        )
    )
    def revoke(self, request: HttpRequest, links: SharedLinkQuerySet) -> None:
        for link in links:
            link.revoke()
        words = ngettext("%d link revoked.", "%d links revoked.", len(links))
        self.message_user(request, words % len(links))
