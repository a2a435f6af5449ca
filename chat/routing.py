"""Websocket addresses, which `config/asgi.py` puts behind origin and session checks."""

from django.urls import path

from chat.consumers import ChatConsumer

websocket_urlpatterns = [
    path("ws/chat/", ChatConsumer.as_asgi()),  # type: ignore[arg-type]  # a view's type
]
