"""Addresses under `/v1/`."""

import re

from django.urls import URLPattern, URLResolver, path, re_path

from openai_api import usage, views

app_name = "openai_api"
endpoints = [
    path("chat/completions", views.ChatCompletions.as_view()),
    path("completions", views.Completions.as_view()),
    path("embeddings", views.Embeddings.as_view()),
    path("rerank", views.Rerank.as_view()),
    path("score", views.Score.as_view()),
    path("tokenize", views.Tokenize.as_view()),
    path("detokenize", views.Detokenize.as_view()),
    path("streams/<str:request_id>", views.Stream.as_view()),
    path("moderations", views.Moderations.as_view()),
    path("organization/usage/completions", usage.CompletionsUsage.as_view()),
    path("organization/costs", usage.Costs.as_view()),
    path("models", views.Models.as_view()),
    # A model's name may hold slashes, as hubs' names do.
    path("models/<path:name>", views.Model.as_view()),
]
known = [re.sub("<.*>", "...", str(each.pattern)) for each in endpoints]
urlpatterns: list[URLPattern | URLResolver] = [
    *endpoints,
    re_path("", views.unknown_path, {"known": known}),
]
