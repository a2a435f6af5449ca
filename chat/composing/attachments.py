"""Attachments as rows: taken in, sent with a message, read for a model, purged."""

import uuid
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from django.conf import settings
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from chat.composing.models import Attachment, AttachmentQuerySet
from chat.composing.reading import Contents, read
from chat.errors import AttachmentNotFound, AttachmentRefused
from chat.models import Conversation, Message
from chat.prompting import TOKENS_PER_IMAGE, Document, Image, estimate_tokens
from controller.models import User

MAX_NAME_CHARS = 200
Attached = tuple[tuple[Document, ...], tuple[Image, ...]]


def attach(user: User, name: str, raw: bytes) -> Attachment:
    """Store a file, not sent with anything yet. May take as long as a PDF takes.

    Raises `AttachmentRefused` for what is too large, too much, or no text or picture.
    """
    _refuse_too_much(user, len(raw))
    contents = read(raw)
    return Attachment.objects.create(
        user=user,
        name=clean_name(name),
        media_type=contents.media_type,
        content=raw,
        num_bytes=len(raw),
        text=contents.text,
        num_tokens=_num_tokens(contents),
        is_cut=contents.is_cut,
    )


def _num_tokens(contents: Contents) -> int:
    return TOKENS_PER_IMAGE if contents.is_image else estimate_tokens(contents.text)


def _refuse_too_much(user: User, num_bytes: int) -> None:
    maximum = settings.CHAT_MAX_ATTACHMENT_BYTES
    if num_bytes > maximum:
        raise AttachmentRefused(
            _("The file is larger than %s.") % filesizeformat(maximum)
        )
    quota = settings.CHAT_ATTACHMENT_QUOTA_BYTES
    if user.is_guest:
        # Whoever has the link makes as many guests of it as they like.
        _refuse_beyond(
            quota,
            Attachment.objects.of_guests(user.guest_link_id),
            num_bytes,
            _(
                "The attachments of all guests of your link take %(kept)s of the"
                " %(quota)s that they may keep. Paste text instead of a file."
            ),
        )
        quota = min(quota, settings.GUEST_ATTACHMENT_QUOTA_BYTES)
    _refuse_beyond(
        quota,
        Attachment.objects.of(user),
        num_bytes,
        _(
            "Your attachments take %(kept)s of the %(quota)s that you may keep."
            " Delete conversations with attachments first."
        ),
    )


def _refuse_beyond(
    quota: int, attachments: AttachmentQuerySet, num_bytes: int, words: str
) -> None:
    kept = attachments.aggregate(total=Sum("num_bytes"))["total"] or 0
    if kept + num_bytes > quota:
        sizes = {"kept": filesizeformat(kept), "quota": filesizeformat(quota)}
        raise AttachmentRefused(words % sizes)


def clean_name(name: str) -> str:
    """The file's own name, without a path or characters that nobody sees."""
    last = PurePosixPath(name.replace("\\", "/")).name
    shown = "".join(char for char in last if char.isprintable()).strip()
    return shown[-MAX_NAME_CHARS:] or "file"


def unsent(user: User, ids: Sequence[uuid.UUID]) -> list[Attachment]:
    """The user's attachments of these ids, in this order, without their contents.

    No query without ids. Raises `AttachmentNotFound` for one that is another's or was
    sent before, and `AttachmentRefused` for too many.
    """
    if not ids:
        return []
    if len(ids) > settings.CHAT_MAX_ATTACHMENTS:
        raise AttachmentRefused(
            _("At most %d files can be attached to a message.")
            % settings.CHAT_MAX_ATTACHMENTS
        )
    own = Attachment.objects.of(user).unsent().defer("content", "text")
    found = own.select_for_update().in_bulk(ids)
    if len(found) < len(set(ids)):
        raise AttachmentNotFound
    return [found[each] for each in dict.fromkeys(ids)]


def take(
    attachments: Sequence[Attachment], conversation: Conversation
) -> list[dict[str, object]]:
    """Send them in this conversation; what its message keeps of them."""
    if attachments:
        ids = [attachment.pk for attachment in attachments]
        Attachment.objects.filter(pk__in=ids).update(conversation=conversation)
    return [attachment.fields for attachment in attachments]


def attached_to(user_id: int, messages: Iterable[Message]) -> dict[uuid.UUID, Attached]:
    """What each message has attached, as models read it. One query, or none.

    What was deleted meanwhile, or came with a conversation from elsewhere, is left out.
    """
    ids = {
        message.id: [uuid.UUID(each["id"]) for each in message.attached]
        for message in messages
        if message.attached
    }
    if not ids:
        return {}
    wanted = {each for listed in ids.values() for each in listed}
    rows = Attachment.objects.filter(user_id=user_id).in_bulk(wanted)
    return {
        message_id: _read_by_models([rows[each] for each in listed if each in rows])
        for message_id, listed in ids.items()
    }


def _read_by_models(attachments: Iterable[Attachment]) -> Attached:
    documents: list[Document] = []
    images: list[Image] = []
    for each in attachments:
        if each.is_image:
            encoded = b64encode(each.content).decode()
            images.append(Image(each.name, f"data:{each.media_type};base64,{encoded}"))
        else:
            documents.append(Document(each.name, each.text))
    return tuple(documents), tuple(images)
