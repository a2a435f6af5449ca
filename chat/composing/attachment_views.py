"""Attachments over HTTP: brought, shown, and taken back before they are sent."""

import uuid

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from chat.composing.answering import answering, user_of
from chat.composing.attachments import attach
from chat.composing.models import Attachment
from chat.errors import AttachmentNotFound, AttachmentRefused

# Whatever it holds, a browser must neither run nor guess: it was somebody's file.
GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@answering("POST")
def attachments(request: HttpRequest) -> JsonResponse:
    """Store the `file` of a form; 201 with what the page shows of it."""
    given = request.FILES.get("file")
    if given is None:
        raise AttachmentRefused(_("There is no file."))
    raw = given.read(settings.CHAT_MAX_ATTACHMENT_BYTES + 1)  # too large is told apart
    attachment = attach(user_of(request), given.name or "", raw)
    return JsonResponse(attachment.fields, status=201)


@answering("GET", "DELETE")
def attachment(request: HttpRequest, attachment_id: uuid.UUID) -> HttpResponseBase:
    """The file, as a download; or it is taken back, if it was not sent yet."""
    own = Attachment.objects.of(user_of(request)).filter(pk=attachment_id)
    if request.method == "DELETE":
        if not own.unsent().delete()[0]:
            raise AttachmentNotFound
        return HttpResponse(status=204)
    found = own.defer("text").first()
    if found is None:
        raise AttachmentNotFound
    return _download(found)


def _download(attachment: Attachment) -> HttpResponse:
    media_type = attachment.media_type
    if media_type.startswith("text/"):
        media_type = f"{media_type}; charset=utf-8"
    response = HttpResponse(bytes(attachment.content), content_type=media_type)
    disposition = content_disposition_header(
        as_attachment=True, filename=attachment.name
    )
    response["Content-Disposition"] = disposition or "attachment"
    for name, value in GUARDS.items():
        response[name] = value
    return response
