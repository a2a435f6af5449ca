"""Addresses of the HTML pages. The machine paths are in `lean_urls`."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("accounts/", include("allauth.urls")),
]
if "controller" in settings.SERVED_ROLES:
    urlpatterns.append(path("admin/", admin.site.urls))
if "chat" in settings.SERVED_ROLES:
    urlpatterns.append(path("", include("chat.urls")))
