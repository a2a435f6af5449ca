"""Addresses of the chat pages."""

from django.urls import URLPattern, URLResolver, path
from django.views.i18n import set_language

from chat import views

app_name = "chat"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.chat_page, name="home"),
    path("c/<uuid:conversation_id>/", views.chat_page, name="conversation"),
    path("language/", set_language, name="language"),
]
