"""Who can read one conversation beside its owner, where it went, and when it goes."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from chat import library
from chat.models import Conversation, Message, SharedLink
from controller.models import LedgerEntry, ModerationFlag, ModerationRule, User

READ_TEXT = "controller.view_message_text"
MAX_ANSWERS = 2_000  # looked at, the latest


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A served model that was sent the conversation."""

    name: str
    is_elsewhere: bool
    """Its worker passed it on to a provider outside this site."""


@dataclass(frozen=True, slots=True)
class Readers:
    num_links: int
    """Open shared links."""
    num_staff: int
    """People of the site who may read what others write."""
    num_flags: int
    """Excerpts of it that moderation keeps."""
    classifiers: list[str]
    """What moderation may send it to, to be judged."""
    models: list[AskedModel]
    goes_at: datetime | None
    """Unless it goes on; None: when its owner deletes it."""


def readers_of(user: User, conversation_id: uuid.UUID) -> Readers:
    """Seven queries. Raises `ConversationNotFound`, also for another user's."""
    conversation = library.find(user, conversation_id)
    answers = _answers(conversation)
    flags = ModerationFlag.objects.filter(request_id__in=answers)
    return Readers(
        num_links=_num_links(conversation),
        num_staff=_num_staff(),
        num_flags=flags.count(),
        classifiers=_classifiers(),
        models=_models(answers),
        goes_at=_goes_at(user, conversation),
    )


def _answers(conversation: Conversation) -> dict[str, str]:
    """The names of the models that were asked, by the ids of the requests; those of
    deleted messages too: they were sent all the same."""
    asked = conversation.messages.filter(role=Message.Role.ASSISTANT)
    known = asked.exclude(request_id="").order_by("-created_at")
    return dict(known.values_list("request_id", "model")[:MAX_ANSWERS])


def _num_links(conversation: Conversation) -> int:
    if not settings.CHAT_SHARING:
        return 0
    return SharedLink.objects.usable().filter(conversation=conversation).count()


def _num_staff() -> int:
    backend = "django.contrib.auth.backends.ModelBackend"
    return (
        User.objects.with_perm(READ_TEXT, backend=backend, is_active=True)
        .filter(is_staff=True)
        .count()
    )


def _classifiers() -> list[str]:
    """Those of the rules that are on and hold for the chat, in the order of their
    names."""
    rules = ModerationRule.objects.filter(enabled=True).exclude(classifier=None)
    found = rules.values_list("classifier__name", "faces")
    return sorted({name for name, faces in found if not faces or "chat" in faces})


def _models(answers: dict[str, str]) -> list[AskedModel]:
    elsewhere = LedgerEntry.objects.filter(
        request_id__in=answers, worker__shares_address=True
    )
    passed_on = {
        answers[each] for each in elsewhere.values_list("request_id", flat=True)
    }
    names = sorted(set(answers.values()))
    return [AskedModel(name, name in passed_on) for name in names]


def _goes_at(user: User, conversation: Conversation) -> datetime | None:
    """By its age, or with the guest whose it is."""
    ends = []
    if days := settings.CHAT_RETENTION_DAYS:
        ends.append(conversation.updated_at + timedelta(days=days))
    if user.guest_link is not None:
        kept = timedelta(days=settings.GUEST_RETENTION_DAYS)
        ends.append(user.guest_link.expires_at + kept)
    return min(ends, default=None)
