"""The page that a shared link opens: for anybody, found by nobody who has it not."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat import sharing
from chat.errors import ConversationNotFound
from chat.words import page_words


@never_cache
@require_safe
def shared_page(request: HttpRequest, secret: str) -> HttpResponse:
    """Title and messages, nothing about who reads; search engines are to leave it."""
    try:
        shared = sharing.read(secret)
    except ConversationNotFound as exc:
        raise Http404(exc.message) from exc
    context = {"shared": shared, "words": page_words()}
    response = render(request, "chat/shared.html", context)
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    # The address is the secret: no page that is linked to here may learn it.
    response["Referrer-Policy"] = "no-referrer"
    return response
