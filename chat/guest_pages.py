"""The page that a guest link opens, and the one that says that its time is over."""

from typing import Any

from allauth.core.internal import ratelimit
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from controller.guests import links
from controller.models import GuestLink, User


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def guest_page(request: HttpRequest) -> HttpResponse:
    """The invitation; a POST from it makes a guest and goes on to the chat.

    To look makes nobody: programs that look at each link of a message make no guests.
    """
    given = request.POST if request.method == "POST" else request.GET
    secret = given.get(links.PARAMETER, "")
    link = links.find(secret)
    if link is None:
        return _unknown(request)
    if isinstance(request.user, User):
        return _known(request, request.user, link)
    if request.method == "POST":
        return _admitted(request, link)
    if link.is_full:
        return _unknown(request)
    return _shown(request, "chat/guest.html", {"link": link, "secret": secret})


@never_cache
@require_safe
def guest_over_page(request: HttpRequest) -> HttpResponse:
    """Where guests are led whose link is over, also from pages that were open still.

    Whoever is signed in is led on: what else a guest lacks, such as the consent to new
    terms, the chat's own page says.
    """
    if isinstance(request.user, User):
        return redirect("chat:home")
    return _shown(request, "chat/guest_over.html", {})


def _known(request: HttpRequest, user: User, link: GuestLink) -> HttpResponse:
    """Somebody who needs no new account: the link's own guest goes on."""
    if user.guest_link_id == link.pk:
        return redirect("chat:home")
    return _shown(request, "chat/guest.html", {"link": link, "is_needless": True})


def _admitted(request: HttpRequest, link: GuestLink) -> HttpResponse:
    if not _may_try(request, "guest"):
        return _refused(request)
    if links.admit(request, link) is None:
        return _unknown(request)
    return redirect("chat:home")


def _unknown(request: HttpRequest) -> HttpResponse:
    """One answer for what never was, has ended, was revoked or is used up."""
    if not _may_try(request, "guest_link_failed"):
        return _refused(request)
    return _shown(request, "chat/guest_unknown.html", {}, status=404)


def _may_try(request: HttpRequest, action: str) -> bool:
    """Counted as sign-ins are, by the client's address. The library's public door to
    its counters passes by whatever is only read."""
    app = "allauth.account"
    usage = ratelimit.consume(request, app=app, action=action, limit_get=True)
    return usage is not None


def _refused(request: HttpRequest) -> HttpResponse:
    refusal: HttpResponse = ratelimit.respond_429(request)
    return refusal


def _shown(
    request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    response = render(request, template, context, status=status)
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    # The address is the secret: no page that is linked to here may learn it. Our own
    # form must tell where it comes from.
    response["Referrer-Policy"] = "same-origin"
    return response
