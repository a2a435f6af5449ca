"""The console's sidebar."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from controller.admin import retention


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of links, as django-unfold reads them; what the user may not see is
    left out."""
    return [
        {
            "items": [
                {
                    "title": _("Overview"),
                    "icon": "monitoring",
                    "link": reverse("admin:index"),
                }
            ]
        },
        _fleet(request),
        _group(
            request,
            _("Access"),
            (_("Users"), "person", "user"),
            (_("Teams"), "groups", "team"),
            (_("API keys"), "key", "apikey"),
            (_("Limits"), "speed", "limit"),
            (_("Budget alerts"), "notifications", "budgetalert"),
            (_("Requests for more"), "contact_support", "limitrequest"),
            (_("Invitations"), "mail", "invitation"),
            (_("Guest links"), "waving_hand", "guestlink"),
            (_("Second factors"), "security", "mfa.authenticator"),
            (_("Sessions"), "devices", "usersessions.usersession"),
            (_("Accounts elsewhere"), "link", "socialaccount.socialaccount"),
            (_("Allowed origins"), "language", "allowedorigin"),
        ),
        _group(
            request,
            _("Chat"),
            (_("Site presets"), "tune", "chat.preset"),
            (_("Site prompts"), "bookmarks", "chat.savedprompt"),
            (_("Votes"), "how_to_vote", "chat.comparison"),
            (_("Ratings"), "thumbs_up_down", "chat.message"),
        ),
        _group(
            request,
            _("Moderation"),
            (_("Rules"), "gavel", "moderationrule"),
            (_("Review queue"), "flag", "moderationflag"),
            (_("Bans"), "person_off", "ban"),
            (_("Classifiers"), "category", "classifier"),
            (_("Shared links"), "share", "chat.sharedlink"),
        ),
        _usage(request),
        _group(
            request,
            _("Site"),
            (_("Announcements"), "campaign", "announcement"),
            (_("Terms of use"), "contract", "termsversion"),
            (_("Consents"), "fact_check", "termsconsent"),
        ),
        _records(request),
    ]


def _fleet(request: HttpRequest) -> dict[str, Any]:
    group = _group(
        request,
        _("Fleet"),
        (_("Workers"), "dns", "worker"),
        (_("Models"), "neurology", "servedmodel"),
        (_("Adapters"), "extension", "adapter"),
        (_("Join tokens"), "add_link", "jointoken"),
    )
    if request.user.has_perm("controller.view_worker"):
        page = {"title": _("Live view"), "icon": "sensors", "link": reverse("fleet")}
        group["items"].insert(0, page)
    return group


def _usage(request: HttpRequest) -> dict[str, Any]:
    group = _group(
        request,
        _("Usage"),
        (_("Ledger"), "receipt_long", "ledgerentry"),
        (_("Reconciliation"), "balance", "enginestart"),
    )
    if request.user.has_perm("controller.view_ledgerentry"):
        page = {"title": _("Usage"), "icon": "bar_chart", "link": reverse("usage")}
        group["items"].insert(0, page)
    return group


def _records(request: HttpRequest) -> dict[str, Any]:
    group = _group(
        request,
        _("Records"),
        (_("Audit log"), "history", "auditlog.logentry"),
        (_("Deleted accounts"), "person_off", "deletionreceipt"),
    )
    if request.user.has_perm(retention.SEE):
        page = {
            "title": _("Retention"),
            "icon": "auto_delete",
            "link": reverse("retention"),
        }
        group["items"].append(page)
    return group


def _group(
    request: HttpRequest, title: str, *models: tuple[str, str, str]
) -> dict[str, Any]:
    """The links to lists of models: (title, icon, `model` or `app.model`)."""
    items = []
    for label, icon, model in models:
        app, name = model.split(".") if "." in model else ("controller", model)
        if request.user.has_perm(f"{app}.view_{name}"):
            link = reverse(f"admin:{app}_{name}_changelist")
            items.append({"title": label, "icon": icon, "link": link})
    return {"title": title, "separator": True, "items": items}
