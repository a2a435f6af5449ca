"""What happens to conversations: a turn begins, an answer is asked for again."""

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from chat.errors import (
    AnswerInProgress,
    ConversationNotFound,
    EmptyPrompt,
    PromptTooLong,
    TooManyGenerations,
)
from chat.models import Conversation, Message
from controller.models import User
from controller.relay.request import make_request_id

TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer to be generated: its row exists, its text does not."""

    user_id: int
    conversation_id: uuid.UUID
    message_id: uuid.UUID
    request_id: str
    model: str
    after: uuid.UUID | None
    """What its owner sees changes behind this message; None: from the start."""
    history: list[dict[str, str]]
    """The messages for the model, in OpenAI's shape, the prompt last."""


@transaction.atomic
def begin_turn(
    user: User, conversation_id: uuid.UUID | None, model: str, text: str
) -> Turn:
    """Store a prompt and the empty answer to it; None begins a conversation.

    Raises `ConversationNotFound`, `EmptyPrompt`, `PromptTooLong`, `AnswerInProgress`
    or `TooManyGenerations`.
    """
    text = checked_prompt(text)
    if conversation_id is None:
        conversation = Conversation(user=user, title=title_of(text), model=model)
        conversation.save()
    else:
        conversation = locked_conversation(user, conversation_id)
    refuse_if_busy(user, conversation)
    prompt = Message.objects.create(
        conversation=conversation,
        parent_id=conversation.leaf_id,
        role=Message.Role.USER,
        content=text,
    )
    return begin_answer(conversation, prompt, model, after=prompt.parent_id)


@transaction.atomic
def begin_retry(user: User, message_id: uuid.UUID, model: str) -> Turn:
    """Another answer beside `message_id`, to the same prompt; `model` may differ.

    Raises as `begin_turn` does; a message that is no answer is not found either.
    """
    answers = Message.objects.of(user).filter(role=Message.Role.ASSISTANT)
    answer = answers.filter(pk=message_id).select_related("parent").first()
    if answer is None or answer.parent is None:
        raise ConversationNotFound
    conversation = locked_conversation(user, answer.conversation_id)
    refuse_if_busy(user, conversation)
    prompt = answer.parent
    return begin_answer(conversation, prompt, model or answer.model, after=prompt.id)


def begin_answer(
    conversation: Conversation, prompt: Message, model: str, after: uuid.UUID | None
) -> Turn:
    """Store the empty answer to `prompt` and make it the conversation's leaf."""
    answer = Message.objects.create(
        conversation=conversation,
        parent=prompt,
        role=Message.Role.ASSISTANT,
        state=Message.State.STREAMING,
        model=model,
        request_id=make_request_id(),
    )
    conversation.leaf = answer
    conversation.model = model
    conversation.updated_at = now()
    conversation.save(update_fields=["leaf", "model", "updated_at"])
    return Turn(
        user_id=conversation.user_id,
        conversation_id=conversation.id,
        message_id=answer.id,
        request_id=answer.request_id,
        model=model,
        after=after,
        history=history_of(conversation.path(prompt.id)),
    )


@dataclass(frozen=True, slots=True)
class OpenedConversation:
    conversation: Conversation
    path: list[Message]


def open_path(user: User, conversation_id: uuid.UUID) -> OpenedConversation:
    """The user's conversation and its messages from root to leaf; two queries.

    Raises `ConversationNotFound`. Answers whose process died are settled first; else
    nothing is written.
    """
    conversation = Conversation.objects.of(user).filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    path = conversation.path()
    if any(message.is_silent for message in path):
        conversation.messages.settle_interrupted()
        path = conversation.path()
    return OpenedConversation(conversation, path)


def request_stop(user: User, message_id: uuid.UUID) -> None:
    """Ask the process that writes this answer, whichever it is, to stop.

    Raises `ConversationNotFound`; an answer that has ended stays as it is.
    """
    messages = Message.objects.of(user).filter(pk=message_id)
    stopping = messages.streaming().update(stop_requested_at=now())
    if not stopping and not messages.exists():
        raise ConversationNotFound


def locked_conversation(user: User, conversation_id: uuid.UUID) -> Conversation:
    """The user's conversation, held until the transaction ends.

    Two tabs that send at once take turns, so the second sees the first's answer.
    """
    conversations = Conversation.objects.select_for_update().of(user)
    conversation = conversations.filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    return conversation


def refuse_if_busy(user: User, conversation: Conversation) -> None:
    messages = Message.objects.of(user)
    messages.settle_interrupted()
    busy = list(messages.streaming().values_list("conversation_id", flat=True))
    if conversation.id in busy:
        raise AnswerInProgress
    if len(busy) >= settings.CHAT_MAX_GENERATIONS:
        raise TooManyGenerations(settings.CHAT_MAX_GENERATIONS)


def checked_prompt(text: str) -> str:
    """The text as stored: PostgreSQL takes no NUL, and blank ends mean nothing."""
    text = text.replace("\x00", "").strip()
    if not text:
        raise EmptyPrompt
    if len(text) > settings.CHAT_MAX_PROMPT_CHARS:
        raise PromptTooLong(settings.CHAT_MAX_PROMPT_CHARS)
    return text


def title_of(text: str) -> str:
    """The first words of a prompt, on one line, as the conversation's title."""
    line = " ".join(text.split()).lstrip("#>*-` ") or text[:1]
    if len(line) <= TITLE_LENGTH:
        return line
    words, _, _ = line[: TITLE_LENGTH + 1].rpartition(" ")
    # Chinese has no spaces, and a title of one word says little.
    cut = words if len(words) > TITLE_LENGTH // 2 else line[:TITLE_LENGTH]
    return f"{cut.rstrip()}…"


def history_of(path: list[Message]) -> list[dict[str, str]]:
    """The path as the model is told it.

    Answers that failed before their first word are left out, and prompts that then
    follow each other are joined: many chat templates insist on alternating roles.
    """
    history: list[dict[str, str]] = []
    for message in path:
        if not message.content:
            continue
        if history and history[-1]["role"] == message.role:
            history[-1]["content"] += f"\n\n{message.content}"
        else:
            history.append({"role": message.role, "content": message.content})
    return history
