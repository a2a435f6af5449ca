"""Addresses under `/controller/`: the workers' contract and the operators' lists."""

from django.urls import URLPattern, URLResolver

app_name = "controller"
urlpatterns: list[URLPattern | URLResolver] = []
