"""A conversation's set-up, read and stored by the page's panel."""

import uuid

from django.http import HttpRequest, JsonResponse

from chat.composing.answering import answering, body_of, user_of
from chat.composing.forms import checked_setup
from chat.composing.pages import setup_fields
from chat.composing.storing import setup_of, store_setup
from chat.errors import ConversationNotFound
from chat.models import Conversation


@answering("POST")
def check_setup(request: HttpRequest) -> JsonResponse:
    """What a conversation that is not begun yet would be set up with."""
    return JsonResponse(setup_fields(checked_setup(body_of(request))))


@answering("GET", "PUT")
def setup(request: HttpRequest, conversation_id: uuid.UUID) -> JsonResponse:
    """The conversation's set-up; after a PUT, as it is from the next answer on."""
    own = Conversation.objects.of(user_of(request))
    conversation = own.filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    if request.method == "PUT":
        store_setup(conversation, checked_setup(body_of(request)))
    return JsonResponse(setup_fields(setup_of(conversation)))
