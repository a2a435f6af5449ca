"""Conversations as people have after a year of asking in one place."""

import uuid
from datetime import timedelta

from django.utils.timezone import now

from chat.models import Conversation, Message
from controller.models import User

ANSWER = """Answer {number}: it **depends**.

- on the *first* thing
- on the `second` thing

| what | how many |
|:--|--:|
| rows | {number} |

And so on, for a line or two more, as answers do.
"""


def make_long_conversation(
    user: User, num_messages: int, answer: str = ANSWER, model: str = "mock-1"
) -> Conversation:
    """Prompts and answers in turn; each names its number, which counts from 0."""
    conversation = Conversation.objects.create(user=user, title="Long", model=model)
    began = now() - timedelta(days=365)
    messages: list[Message] = []
    for number in range(num_messages):
        is_prompt = number % 2 == 0
        messages.append(
            Message(
                id=uuid.uuid4(),
                conversation=conversation,
                parent_id=messages[-1].id if messages else None,
                role=Message.Role.USER if is_prompt else Message.Role.ASSISTANT,
                content=f"Question {number}?"
                if is_prompt
                else answer.format(number=number),
                model="" if is_prompt else model,
                created_at=began + timedelta(minutes=number),
            )
        )
    Message.objects.bulk_create(messages, batch_size=200)
    conversation.leaf_id = messages[-1].id
    conversation.save()
    return conversation
