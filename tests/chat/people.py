"""People with something of every kind, written into a product's own database.

Run there (`manage.py shell`): prints what addresses and messages name of a person.
"""

import json

from chat import library, sharing
from chat.answers import Draft, Ending, settle
from chat.comparisons import Asked, begin_comparison
from chat.composing.attachments import attach
from chat.conversations import begin_turn
from chat.models import Comparison, Folder, Preset, SavedPrompt, SharedLink
from controller.models import ApiKey, Limit, LimitRequest, Membership, Team, User


def make_person(name: str, word: str, password: str, num_conversations: int) -> None:
    """All that is theirs bears the word; the last conversation is side by side."""
    user = User.objects.create_user(name, password=password)
    for number in range(num_conversations - 1):
        turn = begin_turn(user, None, "mock-1", f"{word} {number}")
        settle(turn.message_id, Draft(f"so {word}"), Ending("complete"))
    asked = [Asked("mock-1"), Asked("mock-1")]
    for turn in begin_comparison(user, None, f"{word} compared", asked):
        settle(turn.message_id, Draft(f"so {word}"), Ending("complete"))
    library.make_folder(user, word)
    sharing.share(user, turn.conversation_id)
    attach(user, f"{word}.txt", word.encode())
    Preset.objects.create(user=user, name=word, system_prompt=word)
    SavedPrompt.objects.create(user=user, name=word, text=word)
    team = Team.objects.create(name=word)
    Membership.objects.create(team=team, user=user, role=Membership.Role.OWNER)
    ApiKey.issue(user, name=word, team=team)
    limit = Limit.objects.create(user=user, kind="tokens_per_day", amount=10**9)
    LimitRequest.objects.create(
        user=user,
        limit=limit,
        owner_name=name,
        kind=limit.kind,
        amount=2 * 10**9,
        reason=word,
    )


def print_samples(name: str) -> None:
    user = User.objects.get(username=name)
    comparison = Comparison.objects.get(user=user)
    assert comparison.prompt
    samples = {
        "conversation": comparison.prompt.conversation_id,
        "prompt": comparison.prompt_id,
        "answer": comparison.answers[0],
        "folder": Folder.objects.get(user=user).pk,
        "link": SharedLink.objects.get(conversation__user=user).pk,
        "attachment_id": user.attachments.get().pk,
        "key_id": ApiKey.objects.get(user=user).pk,
        "limit_id": Limit.objects.get(user=user).pk,
        "request_id": LimitRequest.objects.get(user=user).pk,
        "team_id": Team.objects.get(memberships__user=user).pk,
        "member_id": Membership.objects.get(user=user).pk,
        "row_id": [model.objects.get(user=user).pk for model in (Preset, SavedPrompt)],
        "shelf": ["prompts", "presets"],
        "show": ["archived", "deleted"],
        "kind": ["md", "json", "csv", "jsonl"],
    }
    print("samples", json.dumps(samples, default=str))
