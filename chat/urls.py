"""Addresses of the chat pages."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from chat import (
    account_pages,
    app_pages,
    diagram_pages,
    guest_pages,
    key_pages,
    library_api,
    library_pages,
    limit_pages,
    readers_api,
    shared_pages,
    sharing_api,
    team_pages,
    terms_pages,
    usage_pages,
    views,
)

app_name = "chat"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.chat_page, name="home"),
    path("c/<uuid:conversation_id>/", views.chat_page, name="conversation"),
    re_path(
        r"^c/(?P<conversation_id>[0-9a-f-]{36})/export\.(?P<kind>md|json)$",
        library_pages.export_one,
        name="export",
    ),
    path("s/<str:secret>/", shared_pages.shared_page, name="shared"),
    path("library/", library_pages.library_page, name="library"),
    re_path(
        r"^library/(?P<show>archived|deleted)/$",
        library_pages.library_page,
        name="library",
    ),
    path("library/links/", library_pages.links_page, name="links"),
    path("library/transfer/", library_pages.transfer_page, name="transfer"),
    re_path(
        r"^library/conversations\.(?P<kind>md|json)$",
        library_pages.export_all,
        name="export_all",
    ),
    path("library/api/conversations/", library_api.conversations, name="listed"),
    path("library/api/search/", library_api.found, name="search"),
    path("library/api/change/", library_api.change, name="change"),
    path("library/api/share/", sharing_api.share, name="share"),
    path(
        "library/api/links/<uuid:conversation_id>/", sharing_api.links, name="links_of"
    ),
    path(
        "library/api/readers/<uuid:conversation_id>/",
        readers_api.readers,
        name="readers_of",
    ),
    path("library/api/revoke/", sharing_api.revoke, name="revoke"),
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
    path("guest/", guest_pages.guest_page, name="guest"),
    path("guest/over/", guest_pages.guest_over_page, name="guest_over"),
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
    path("language/", account_pages.choose_language, name="language"),
]
