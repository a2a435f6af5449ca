"""The page on which people see what they used, and take it with them."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.views import View
from controller.ledger.exports import export_response
from controller.ledger.report import PERIODS, Period, Report


def page(view: View) -> View:
    """A page to look at for those who are signed in, which no cache keeps."""
    return never_cache(require_safe(login_required(view)))


def _own(request: HttpRequest) -> Q:
    return Q(user_id=request.user.pk)


@page
def usage_page(request: HttpRequest) -> HttpResponse:
    """The user's tokens, cost, latency and errors by day, model and key."""
    period = Period.asked(request.GET.get("days"))
    report = Report(period, ("model", "key_id"), _own(request))
    context: dict[str, Any] = {
        "report": report,
        "periods": PERIODS,
        "currency": settings.CURRENCY,
    }
    if report.total.num_requests:
        context |= {"by_model": report.by_model(), "by_key": report.by_key()}
    return render(request, "chat/usage.html", context)


@page
def usage_export(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """Each of the user's requests of the period as a line of a file."""
    period = Period.asked(request.GET.get("days"))
    return export_response(period.entries(_own(request)), kind)
