"""The chat pages. What happens on them goes over the websocket (`consumers`)."""

import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat import library, protocol
from chat.composing.pages import composing_fields
from chat.errors import ConversationNotFound
from chat.library_api import folder_fields, listed_fields
from chat.models import Conversation, Folder
from chat.opening import OpenedConversation, open_path
from chat.words import page_words
from controller.gateway import gateway
from controller.identity.memberships import caller_of
from controller.models import User

View = Callable[..., HttpResponseBase]


@never_cache
@require_safe
@login_required
def chat_page(
    request: HttpRequest, conversation_id: uuid.UUID | None = None
) -> HttpResponse:
    """A conversation, or the page on which a new one begins.

    A temporary one has no address: it is over when its page is left.
    """
    user = request.user
    assert isinstance(user, User)  # login_required
    opened = None
    if conversation_id is not None:
        try:
            opened = open_path(user, conversation_id)
        except ConversationNotFound as exc:
            raise Http404(exc.message) from exc
        if opened.conversation.is_temporary:
            raise Http404
    conversation = opened.conversation if opened else None
    is_temporary = conversation is None and "temporary" in request.GET
    context = {
        "conversation": conversation,
        "is_temporary": is_temporary,
        "ban": gateway().bans.of(user.pk),
        "languages": settings.LANGUAGES,
        "page": page_fields(user, opened) | {"isTemporary": is_temporary},
        "library": library_fields(user, conversation),
        "words": page_words(),
    }
    return render(request, "chat/conversation.html", context)


def page_fields(user: User, opened: OpenedConversation | None) -> dict[str, Any]:
    """What the page's script starts from, before the socket is open."""
    return {
        **path_fields(opened),
        "models": protocol.model_fields(
            gateway().models(caller_of(user)), gateway().outlook
        ),
        **composing_fields(user, opened.conversation if opened else None),
        "socket": f"{reverse('chat:home')}ws/chat/",
        "home": reverse("chat:home"),
        # A guest has nowhere to sign in, and is told why it is over.
        "signIn": reverse("chat:guest_over" if user.is_guest else settings.LOGIN_URL),
        "language": get_language(),
        "currency": settings.CURRENCY,
        "maxPromptChars": settings.CHAT_MAX_PROMPT_CHARS,
    }


def path_fields(opened: OpenedConversation | None) -> dict[str, Any]:
    """The conversation that the page shows, and its messages."""
    if opened is None:
        return {
            "conversation": None,
            "messages": [],
            "hasEarlier": False,
            "comparison": None,
        }
    path, tree = opened.path, opened.tree
    return {
        "conversation": protocol.conversation_fields(opened.conversation),
        "messages": protocol.path_fields(path, tree),
        "hasEarlier": opened.has_earlier,
        "comparison": protocol.comparison_fields(opened.compared, path, tree),
    }


def library_fields(user: User, shown: Conversation | None) -> dict[str, Any]:
    """What the sidebar starts from. Three queries."""
    recent = library.page_of(library.recent(user))
    pinned = library.pinned(user)[: library.MAX_PINNED]
    folders = Folder.objects.filter(user=user)[: library.MAX_FOLDERS]
    return {
        "home": reverse("chat:home"),
        "conversations": [listed_fields(each) for each in recent.conversations],
        "next": str(recent.next) if recent.next else None,
        "pinned": [listed_fields(each) for each in pinned],
        "folders": [folder_fields(each) for each in folders],
        "shown": listed_fields(shown) if shown else None,
        "canShare": settings.CHAT_SHARING and not user.is_guest,
    }
