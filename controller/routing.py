"""Websocket addresses, which `config/asgi.py` puts behind origin and session checks."""

from django.urls import path

from controller.consumers import FleetConsumer

websocket_urlpatterns = [
    path("ws/fleet/", FleetConsumer.as_asgi()),  # type: ignore[arg-type]  # a view's type
]
