"""Addresses of what goes with prompts; all but the pages answer JSON."""

from django.urls import path

from chat.composing import attachment_views, setup_views, shelf_pages, shelf_views

urlpatterns = [
    path("setup/", setup_views.check_setup, name="check_setup"),
    path("c/<uuid:conversation_id>/setup/", setup_views.setup, name="setup"),
    path("attachments/", attachment_views.attachments, name="attachments"),
    path(
        "attachments/<uuid:attachment_id>/",
        attachment_views.attachment,
        name="attachment",
    ),
    path("shelves/", shelf_views.shelves, name="shelves"),
    path("shelves/presets/", shelf_views.add_preset, name="add_preset"),
    path("saved/<slug:shelf>/", shelf_pages.shelf_page, name="shelf"),
    path("saved/<slug:shelf>/new/", shelf_pages.add_page, name="shelf_add"),
    path("saved/<slug:shelf>/<int:row_id>/", shelf_pages.edit_page, name="shelf_edit"),
    path(
        "saved/<slug:shelf>/<int:row_id>/delete/",
        shelf_pages.delete_page,
        name="shelf_delete",
    ),
]
