"""What happens to conversations: a turn begins, is asked anew, or is gone on with."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from chat import search
from chat.answers import Ending, ending_of
from chat.composing.attachments import attached_to, take, unsent
from chat.composing.setups import PLAIN, Setup
from chat.composing.storing import setup_of, store_setup
from chat.errors import (
    AnswerInProgress,
    ConversationNotFound,
    EmptyPrompt,
    NothingToContinue,
    PromptTooLong,
    TooManyGenerations,
)
from chat.models import Conversation, Message
from chat.prompting import Said
from controller.errors import ContentBlocked
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
    history: list[Said]
    """What was said for the model to read, the prompt last; or the answer that is gone
    on with."""
    begun: str = ""
    """The text that the model is to go on from."""
    before: Ending | None = None
    """How the answer that is gone on with ended first."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Of this answer alone, in OpenAI's names."""
    setup: Setup = PLAIN
    is_temporary: bool = False


@transaction.atomic
def begin_turn(
    user: User,
    conversation_id: uuid.UUID | None,
    model: str,
    text: str,
    setup: Setup = PLAIN,
    attachments: Sequence[uuid.UUID] = (),
    is_temporary: bool = False,
) -> Turn:
    """Store a prompt and the empty answer to it; None begins a conversation, which is
    set up so, and temporary if so wished. Where something is attached the text may be
    empty.

    Raises `ConversationNotFound`, `AttachmentNotFound`, `EmptyPrompt`, `PromptTooLong`,
    `AnswerInProgress` or `TooManyGenerations`.
    """
    prompt = begin_prompt(
        *(user, conversation_id, model, text, setup, attachments),
        is_temporary=is_temporary,
    )
    return begin_answer(prompt.conversation, prompt, model, after=prompt.parent_id)


def begin_prompt(
    user: User,
    conversation_id: uuid.UUID | None,
    model: str,
    text: str,
    setup: Setup = PLAIN,
    attachments: Sequence[uuid.UUID] = (),
    num_wanted: int = 1,
    is_temporary: bool = False,
) -> Message:
    """Store a prompt behind the conversation's leaf, to which so many answers are
    wanted. Raises as `begin_turn` does."""
    attached = unsent(user, attachments)
    text = checked_prompt(text, may_be_empty=bool(attached))
    title = title_of(text or attached[0].name)
    conversation = conversation_for(
        user, conversation_id, model, title, setup, is_temporary
    )
    refuse_if_busy(user, conversation, num_wanted=num_wanted)
    return store_prompt(
        conversation, conversation.leaf_id, text, take(attached, conversation)
    )


def conversation_for(
    user: User,
    conversation_id: uuid.UUID | None,
    model: str,
    title: str,
    setup: Setup = PLAIN,
    is_temporary: bool = False,
) -> Conversation:
    """The user's conversation, held until the transaction ends; None: a new one, which
    is called so and set up so. Raises `ConversationNotFound`."""
    if conversation_id is not None:
        return locked_conversation(user, conversation_id)
    conversation = Conversation.objects.create(
        user=user, title=title, model=model, is_temporary=is_temporary
    )
    if setup:
        store_setup(conversation, setup)
    return conversation


@transaction.atomic
def begin_edit(user: User, message_id: uuid.UUID, model: str, text: str) -> Turn:
    """Store a prompt anew beside `message_id`, with what is attached to that, and the
    empty answer to it.

    Raises as `begin_turn` does; a message that is no prompt is not found either.
    """
    older = locked_message(user, message_id, role=Message.Role.USER)
    text = checked_prompt(text, may_be_empty=bool(older.attached))
    refuse_if_busy(user, older.conversation)
    prompt = store_prompt(older.conversation, older.parent_id, text, older.attached)
    return begin_answer(older.conversation, prompt, model, after=prompt.parent_id)


@transaction.atomic
def begin_retry(user: User, message_id: uuid.UUID, model: str) -> Turn:
    """Another answer beside `message_id`, to the same prompt; `model` may differ.

    Raises as `begin_turn` does; a message that is no answer is not found either.
    """
    answer = locked_message(user, message_id, role=Message.Role.ASSISTANT)
    if answer.parent is None:
        raise ConversationNotFound
    conversation, prompt = answer.conversation, answer.parent
    refuse_if_busy(user, conversation)
    return begin_answer(conversation, prompt, model or answer.model, after=prompt.id)


@transaction.atomic
def begin_continuation(
    user: User,
    message_id: uuid.UUID,
    text: str,
    can_continue: Callable[[str], bool],
) -> Turn:
    """Have the last answer, which was cut, go on where it broke off.

    Where its model `can_continue`, the answer itself grows; else the model is asked by
    `text` to go on, and answers anew. Raises as `begin_turn` does, or
    `NothingToContinue`.
    """
    answer = locked_message(user, message_id, role=Message.Role.ASSISTANT)
    conversation = answer.conversation
    refuse_if_busy(user, conversation)
    if conversation.leaf_id != answer.id or not answer.can_go_on:
        raise NothingToContinue
    # What a model thought is not told it again, so it could not go on from there.
    if answer.reasoning or not can_continue(answer.model):
        prompt = store_prompt(conversation, answer.id, checked_prompt(text))
        return begin_answer(conversation, prompt, answer.model, after=answer.id)
    return reopen_answer(conversation, answer)


def reopen_answer(conversation: Conversation, answer: Message) -> Turn:
    """Have an answer grow once more, from its last word on."""
    before = ending_of(answer)
    # Chat templates cut off the space at the end, and models then say it themselves.
    answer.content = answer.content.rstrip()
    answer.state = Message.State.STREAMING
    answer.request_id = make_request_id()
    answer.written_at = now()
    answer.stop_requested_at = answer.attended_at = None
    answer.error = answer.error_code = answer.finish_reason = ""
    answer.save()
    return Turn(
        user_id=conversation.user_id,
        conversation_id=conversation.id,
        message_id=answer.id,
        request_id=answer.request_id,
        model=answer.model,
        after=answer.parent_id,
        history=history_of(conversation, conversation.path(answer.id)),
        setup=setup_of(conversation),
        begun=answer.content,
        before=before,
        is_temporary=conversation.is_temporary,
    )


def store_prompt(
    conversation: Conversation,
    parent_id: uuid.UUID | None,
    text: str,
    attached: list[Any] | None = None,
) -> Message:
    """A prompt's row, which search finds."""
    prompt = Message.objects.create(
        conversation=conversation,
        parent_id=parent_id,
        role=Message.Role.USER,
        content=text,
        attached=attached or [],
    )
    search.index([prompt])
    return prompt


def begin_answer(
    conversation: Conversation, prompt: Message, model: str, after: uuid.UUID | None
) -> Turn:
    """Store the empty answer to `prompt` and make it the conversation's leaf."""
    turn = store_answer(conversation, prompt, model, after)
    conversation.leaf_id = turn.message_id
    conversation.model = model
    conversation.updated_at = now()
    conversation.save(update_fields=["leaf", "model", "updated_at"])
    return turn


def store_answer(
    conversation: Conversation, prompt: Message, model: str, after: uuid.UUID | None
) -> Turn:
    """The row of an empty answer to `prompt`; the conversation stays where it is."""
    answer = Message.objects.create(
        conversation=conversation,
        parent=prompt,
        role=Message.Role.ASSISTANT,
        state=Message.State.STREAMING,
        model=model,
        request_id=make_request_id(),
    )
    return Turn(
        user_id=conversation.user_id,
        conversation_id=conversation.id,
        message_id=answer.id,
        request_id=answer.request_id,
        model=model,
        after=after,
        history=history_of(conversation, conversation.path(prompt.id)),
        setup=setup_of(conversation),
        is_temporary=conversation.is_temporary,
    )


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


def locked_message(user: User, message_id: uuid.UUID, **having: Any) -> Message:
    """The user's message, if it is so; its conversation is held until the transaction
    ends. Raises `ConversationNotFound`, also for a message that was deleted."""
    conversation_ids = Message.objects.of(user).filter(pk=message_id)
    conversation_id = conversation_ids.values_list("conversation_id", flat=True).first()
    if conversation_id is None:
        raise ConversationNotFound
    conversation = locked_conversation(user, conversation_id)
    # Looked at again under the lock: it may have been deleted meanwhile.
    messages = conversation.messages.kept().select_related("parent")
    message = messages.filter(pk=message_id, **having).first()
    if message is None:
        raise ConversationNotFound
    return message


def refuse_if_busy(
    user: User,
    conversation: Conversation,
    num_wanted: int = 1,
    beside: Collection[uuid.UUID] = (),
) -> None:
    """Raise `AnswerInProgress` where the conversation is being answered, other than by
    those `beside` which the wanted one may grow; or `TooManyGenerations`."""
    messages = Message.objects.of(user)
    messages.settle_interrupted()
    busy = dict(messages.streaming().values_list("pk", "conversation_id"))
    if any(busy[each] == conversation.id for each in busy.keys() - beside):
        raise AnswerInProgress
    if len(busy) + num_wanted > settings.CHAT_MAX_GENERATIONS:
        raise TooManyGenerations(settings.CHAT_MAX_GENERATIONS)


def checked_prompt(text: str, *, may_be_empty: bool = False) -> str:
    """The text as stored: PostgreSQL takes no NUL, and blank ends mean nothing."""
    text = text.replace("\x00", "").strip()
    if not text and not may_be_empty:
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


def history_of(conversation: Conversation, path: list[Message]) -> list[Said]:
    """The path as `prompting` reads it; a query more where something is attached.

    Prompts that a rule has blocked are left out: they would block all that follow.
    """
    blocked = {
        answer.parent_id for answer in path if answer.error_code == ContentBlocked.code
    }
    told = [message for message in path if message.id not in blocked]
    attached = attached_to(conversation.user_id, told)
    return [
        Said(message.role, message.content, *attached.get(message.id, ((), ())))
        for message in told
    ]
