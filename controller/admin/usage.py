"""Usage of the whole site, for operators: by team, user, model, key and day."""

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, re_path
from django.utils.translation import gettext as _

from controller.ledger.exports import export_response
from controller.ledger.report import PERIODS, Line, Period, Report

GROUPS = ("team_id", "model", "user_id", "key_id")


def usage_page(request: HttpRequest) -> HttpResponse:
    """Who used how much of what, and what it cost."""
    _check(request)
    period = Period.asked(request.GET.get("days"))
    report = Report(period, GROUPS)
    context = {
        **admin.site.each_context(request),
        "title": _("Usage"),
        "report": report,
        "periods": PERIODS,
        "currency": settings.CURRENCY,
        "tables": _tables(report) if report.total.num_requests else [],
    }
    return TemplateResponse(request, "controller/admin/usage.html", context)


def usage_export(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """Every request of the period as a line of a file."""
    _check(request)
    period = Period.asked(request.GET.get("days"))
    return export_response(period.entries(Q()), kind)


def _check(request: HttpRequest) -> None:
    if not request.user.has_perm("controller.view_ledgerentry"):
        raise PermissionDenied


def _tables(report: Report) -> list[tuple[str, str, list[Line]]]:
    """(heading, what stands for nothing there, lines) of each."""
    return [
        (_("Team"), _("No team"), report.by_team()),
        (_("Model"), "–", report.by_model()),
        (_("User"), _("No user"), report.by_user()),
        (_("API key"), _("Without a key: the chat"), report.by_key(with_owners=True)),
    ]


urlpatterns: list[URLPattern] = [
    path("", admin.site.admin_view(usage_page), name="usage"),
    re_path(
        r"^requests\.(?P<kind>csv|jsonl)$",
        admin.site.admin_view(usage_export),
        name="usage_export",
    ),
]
