"""Addresses of the HTML pages. The machine paths are in `lean_urls`."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from controller.admin.retention import retention_page
from controller.admin.site import sign_in
from controller.site_settings import site_logo

urlpatterns: list[URLPattern | URLResolver] = []
if {"controller", "chat"} & set(settings.SERVED_ROLES):  # /v1 knows no session
    urlpatterns.append(path("accounts/", include("allauth.urls")))
    urlpatterns.append(path("site-logo", site_logo, name="site_logo"))
if "controller" in settings.SERVED_ROLES:
    # Before the console's own: strangers go to the accounts' page.
    urlpatterns.append(path("admin/login/", sign_in))
    urlpatterns.append(path("admin/usage/", include("controller.admin.usage")))
    urlpatterns.append(path("admin/retention/", retention_page, name="retention"))
    urlpatterns.append(path("admin/fleet/", include("controller.admin.fleet_pages")))
    urlpatterns.append(path("admin/", admin.site.urls))
if "chat" in settings.SERVED_ROLES:
    urlpatterns.append(path("", include("chat.urls")))
