"""Addresses of the machine paths, answered by the lean handler."""

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

from controller import probes

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", probes.healthz),
    path("readyz", probes.readyz),
    path("metrics", probes.metrics),
]
if "controller" in settings.SERVED_ROLES:
    urlpatterns.append(path("controller/", include("controller.urls")))
if "api" in settings.SERVED_ROLES:
    urlpatterns.append(path("v1/", include("openai_api.urls")))
