"""Addresses under `/controller/`: the workers' contract and the operators' lists."""

from django.urls import path

from controller import views

app_name = "controller"
urlpatterns = [
    path("workers/", views.WorkersView.as_view()),
    path("workers/<uuid:worker_id>/", views.WorkerView.as_view()),
    path("workers/<uuid:worker_id>/heartbeat/", views.HeartbeatView.as_view()),
    path("check/", views.CheckView.as_view()),
    path("models/", views.ModelsView.as_view()),
]
