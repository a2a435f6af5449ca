"""Rows for one page of every kind, written into a product's own database.

Run there (`manage.py shell`): prints a sample of each parameter that addresses have.
"""

import json
from datetime import timedelta

from chat import sharing
from chat.models import Conversation, Message, SavedPrompt
from controller.models import ApiKey, Limit, LimitRequest, Membership, Team, User

ANSWER = """# A heading

Some **words** with `code`, $x^2$ and [a link](https://example.com).

```python
def f(x: int) -> str:
    return "a"  # a comment
```

| what | how many |
|:--|--:|
| rows | 2 |

> quoted

- [x] done
- [ ] open

$$
\\int_0^1 x^2 dx
$$
"""


def write_samples(username: str) -> dict[str, str]:
    user = User.objects.get(username=username)
    team = Team.objects.create(name="Readers")
    Membership.objects.create(team=team, user=user, role=Membership.Role.OWNER)
    other = User.objects.create(username="reader")
    member = Membership.objects.create(team=team, user=other)
    key, _ = ApiKey.issue(user, name="A key", team=team)
    key.rotate(timedelta(days=1))
    limits = [
        Limit.objects.create(user=user, kind=kind, amount=1000)
        for kind in ("tokens_per_day", "requests_per_minute")
    ]
    asked = LimitRequest.objects.create(
        user=user,
        limit=limits[1],
        owner_name=username,
        kind=limits[1].kind,
        amount=2000,
        reason="More",
    )
    prompt = SavedPrompt.objects.create(user=user, name="sum", text="Sum up {{it}}.")
    conversation = write_conversation(user)
    _, secret = sharing.share(user, conversation.id)
    return {
        "conversation_id": str(conversation.id),
        "secret": secret,
        "show": "archived",
        "key_id": str(key.pk),
        "limit_id": str(limits[0].pk),
        "request_id": str(asked.pk),
        "row_id": str(prompt.pk),
        "team_id": str(team.pk),
        "member_id": str(member.pk),
    }


def write_conversation(user: User) -> Conversation:
    """With an answer of all that Markdown has, and one that failed."""
    conversation = Conversation.objects.create(user=user, title="All", model="mock-1")
    states = (
        ("user", "A question?", "complete"),
        ("assistant", ANSWER, "complete"),
        ("user", "Another one?", "complete"),
        ("assistant", "Cut", "interrupted"),
        ("user", "And this?", "complete"),
        ("assistant", "", "failed"),
    )
    for role, content, state in states:
        message = Message.objects.create(
            conversation=conversation,
            parent_id=conversation.leaf_id,
            role=role,
            content=content,
            state=state,
            error="It failed." if state == "failed" else "",
            model="mock-1" if role == "assistant" else "",
        )
        conversation.leaf = message
    conversation.save()
    return conversation


def print_samples(username: str) -> None:
    print("samples", json.dumps(write_samples(username)))
