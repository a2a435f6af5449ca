"""Addresses of the chat pages."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.i18n import set_language

from chat import (
    account_pages,
    app_pages,
    diagram_pages,
    key_pages,
    limit_pages,
    team_pages,
    terms_pages,
    usage_pages,
    views,
)

app_name = "chat"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.chat_page, name="home"),
    path("c/<uuid:conversation_id>/", views.chat_page, name="conversation"),
    path("keys/", key_pages.keys_page, name="keys"),
    path("keys/<int:key_id>/rotate/", key_pages.rotate_key, name="rotate_key"),
    path("keys/<int:key_id>/end-overlap/", key_pages.end_overlap, name="end_overlap"),
    path("keys/<int:key_id>/revoke/", key_pages.revoke_key, name="revoke_key"),
    path("limits/", limit_pages.limits_page, name="limits"),
    path("limits/<int:limit_id>/ask/", limit_pages.ask_for_more, name="ask_for_more"),
    path(
        "limits/requests/<int:request_id>/withdraw/",
        limit_pages.withdraw_request,
        name="withdraw_request",
    ),
    path("limits/keys/<int:key_id>/", limit_pages.limit_team_key, name="limit_key"),
    path("usage/", usage_pages.usage_page, name="usage"),
    re_path(
        r"^usage/requests\.(?P<kind>csv|jsonl)$",
        usage_pages.usage_export,
        name="usage_export",
    ),
    path("manifest.webmanifest", app_pages.manifest, name="manifest"),
    path("worker.js", app_pages.service_worker, name="service_worker"),
    path("offline/", app_pages.offline, name="offline"),
    path("diagrams/", diagram_pages.diagram_frame, name="diagrams"),
    path("account/", account_pages.data_page, name="data"),
    path("account/export/", account_pages.export_data, name="export_data"),
    path("account/delete/", account_pages.delete_page, name="delete_account"),
    path(
        "account/deleted/<uuid:receipt_id>/",
        account_pages.receipt_file,
        name="receipt",
    ),
    path("terms/", terms_pages.terms_page, name="terms"),
    path("teams/", team_pages.teams_page, name="teams"),
    path("teams/<int:team_id>/", team_pages.team_page, name="team"),
    path(
        "teams/members/<int:member_id>/role/",
        team_pages.change_role,
        name="member_role",
    ),
    path(
        "teams/members/<int:member_id>/remove/",
        team_pages.remove_member,
        name="remove_member",
    ),
    path("", include("chat.composing.urls")),
    path("language/", set_language, name="language"),
]
