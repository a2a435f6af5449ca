"""The page of the terms of use, on which people agree to them."""

from typing import cast

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from chat.key_pages import page
from controller.accounts.terms import agree, has_agreed
from controller.models import TermsVersion, User


@page
def terms_page(request: HttpRequest) -> HttpResponse:
    """The terms of now, and a button for those who have not agreed yet."""
    user = cast("User", request.user)  # login_required
    terms = TermsVersion.current()
    if terms is None:
        return redirect("chat:home")
    # A version that was published while the reader read another is shown first.
    if request.method == "POST" and request.POST.get("version") == terms.version:
        agree(request, user, terms)
        return _onward(request)
    context = {
        "terms": terms,
        "has_agreed": has_agreed(user, terms, request.session),
        "next": request.POST.get("next") or request.GET.get("next", ""),
    }
    return render(request, "chat/terms.html", context)


def _onward(request: HttpRequest) -> HttpResponse:
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        wanted, {request.get_host()}, require_https=request.is_secure()
    )
    return HttpResponseRedirect(wanted) if is_ours else redirect("chat:home")
