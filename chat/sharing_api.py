"""Links to conversations, as the sidebar's dialog makes, lists and revokes them."""

import uuid
from typing import Annotated

import msgspec
from django.http import HttpRequest
from django.urls import reverse

from chat import sharing
from chat.library_api import Answer, body_of, endpoint
from chat.models import SharedLink
from controller.models import User
from controller.site_address import site_origin

MAX_LISTED = 50


class NewLink(msgspec.Struct):
    conversation: uuid.UUID
    is_live: bool = False
    shows_name: bool = False
    days: Annotated[int, msgspec.Meta(ge=1, le=sharing.LONGEST_DAYS)] | None = None


class Revoke(msgspec.Struct):
    link: int


def link_fields(link: SharedLink) -> Answer:
    return {
        "id": link.pk,
        "start": link.token_start,
        "is_live": link.is_live,
        "shows_name": link.shows_name,
        "created_at": link.created_at.isoformat(),
        "expires_at": link.expires_at.isoformat() if link.expires_at else None,
    }


@endpoint("POST")
def share(user: User, request: HttpRequest) -> Answer:
    """Make a link; the answer is the only place that ever holds its address."""
    wanted = body_of(request, NewLink)
    link, secret = sharing.share(
        user,
        wanted.conversation,
        is_live=wanted.is_live,
        shows_name=wanted.shows_name,
        days=wanted.days,
    )
    path = reverse("chat:shared", args=[secret])
    return link_fields(link) | {"address": site_origin(request) + path}


@endpoint("GET")
def links(user: User, request: HttpRequest, conversation_id: uuid.UUID) -> Answer:
    """The open links to one conversation."""
    usable = sharing.links_of(user).usable().filter(conversation=conversation_id)
    return {"links": [link_fields(each) for each in usable[:MAX_LISTED]]}


@endpoint("POST")
def revoke(user: User, request: HttpRequest) -> Answer:
    sharing.revoke(user, body_of(request, Revoke).link)
    return {}
