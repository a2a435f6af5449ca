"""Addresses under `/v1/`."""

from django.urls import URLPattern, URLResolver

app_name = "openai_api"
urlpatterns: list[URLPattern | URLResolver] = []
