"""What is the same on every page of the console, and its door."""

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from controller.site_settings import logo_url

admin.site.index_template = "controller/admin/dashboard.html"
admin.site.index_title = _("Overview")
# The accounts' pages look after addresses; here a user's e-mail is a field of the user.
admin.site.unregister(EmailAddress)


def stylesheet(request: HttpRequest) -> str:
    return static("controller/admin/console.css")


def script(request: HttpRequest) -> str:
    return static("controller/admin/console.js")


def icon(request: HttpRequest) -> str:
    return logo_url() or static("controller/icon.svg")


def sign_in(request: HttpRequest) -> HttpResponse:
    """The console has no sign-in of its own: it sends to the accounts' page, and on.

    Who is signed in and no operator is told so (403), not sent round in a loop.
    """
    wanted = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(
        wanted, {request.get_host()}, require_https=request.is_secure()
    ):
        wanted = reverse("admin:index")
    if not request.user.is_authenticated:
        return redirect_to_login(wanted, settings.LOGIN_URL)
    if admin.site.has_permission(request):
        return HttpResponseRedirect(wanted)
    context = {**admin.site.each_context(request), "title": _("Operators only")}
    return render(request, "controller/admin/operators_only.html", context, status=403)
