"""The rows behind the pictures, written into a product's own database.

Run there, by `manage.py shell`, when the workers have joined. Nothing is random: the
same pictures come out, but for what is as long ago as the moment of taking them.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import product as pairs
from typing import Any

from django.utils.timezone import now

from chat import search
from chat.composing.models import ConversationSetup, Preset, SavedPrompt
from chat.models import Comparison, Conversation, Folder, Message
from controller.identity import encryption
from controller.ledger import rollups
from controller.models import (
    ApiKey,
    LedgerEntry,
    LedgerHour,
    Limit,
    Membership,
    ModerationFlag,
    ModerationRule,
    ProcessHeard,
    Revision,
    ServedModel,
    Team,
    User,
    Worker,
    WorkerSample,
)
from controller.models.usage import HOUR, hour_of
from tests.pictures import texts

LARGE, SMALL = "qwen3-32b", "llama-3.1-8b"
DESCRIPTIONS = {
    LARGE: ("The large one: code, mathematics, Chinese and English.", "Apache-2.0"),
    SMALL: ("Quick answers in English.", "Llama 3.1 Community"),
    "bge-m3": ("Embeddings in a hundred languages.", "MIT"),
}
DAYS = 7


def write_all() -> None:
    user = User.objects.get(is_superuser=True)
    User.objects.filter(pk=user.pk).update(first_name="Ada", last_name="Moreau")
    reader = User.objects.create(username="mei", first_name="林小美")
    reader.set_password("pictures-only")
    reader.save()
    write_models()
    for owner, words in ((user, "en"), (reader, "zh")):
        write_conversations(owner, words)
    write_shelves(user)
    keys = write_keys(user, reader)
    write_ledger([user, reader], keys)
    write_moderation(user, reader)
    write_samples()
    ProcessHeard.objects.update_or_create(
        name=ProcessHeard.TASK_WORKER, defaults={"heard_at": now()}
    )


def write_models() -> None:
    for name, (description, licence) in DESCRIPTIONS.items():
        ServedModel.objects.filter(name=name).update(
            description=description,
            licence=licence,
            price_prompt="0.20",
            price_completion="0.80",
        )
    ServedModel.objects.filter(name=LARGE).update(
        default_parameters={"temperature": 0.6, "top_p": 0.95},
        system_prompt="Answer in the language of the question.",
        policy="prefix_affinity",
        fallback=ServedModel.objects.get(name=SMALL),
        canary_percent=10,
        canary_labels={"version": "2"},
    )
    Revision.bump("fleet")


# -- Conversations ---------------------------------------------------------------------


def write_conversations(user: User, words: str) -> None:
    titles = texts.TITLES if words == "en" else texts.TITLES_ZH
    folders: dict[str, Folder] = {}
    said = dict(texts.SAID)
    for number, (title, folder) in enumerate(titles):
        if folder and folder not in folders:
            folders[folder] = Folder.objects.create(user=user, name=folder)
        talk(
            user,
            title,
            [("user", title), ("assistant", said.get(number, "Like this."))],
            folder=folders.get(folder),
            updated_at=now() - timedelta(hours=5 * number + 1),
        )
    if words == "zh":
        compared(
            user,
            texts.COMPARED_TITLE_ZH,
            texts.COMPARED_ZH,
            texts.COMPARED_ANSWERS_ZH,
        )
        title, question, answer = texts.TITLE_ZH, texts.QUESTION_ZH, texts.ANSWER_ZH
    else:
        compared(user, texts.COMPARED_TITLE, texts.COMPARED, texts.COMPARED_ANSWERS)
        title, question, answer = texts.TITLE, texts.QUESTION, texts.ANSWER
    talk(user, title, [("user", question), ("assistant", answer)], pinned_at=now())


def talk(
    user: User, title: str, said: Sequence[tuple[str, str]], **fields: Any
) -> Conversation:
    fields = {"titled_by": "model", "model": LARGE} | fields
    conversation = Conversation.objects.create(user=user, title=title, **fields)
    for role, content in said:
        conversation.leaf = message(conversation, role, content)
        conversation.save(update_fields=["leaf"])
    return conversation


def message(
    conversation: Conversation, role: str, content: str, **fields: Any
) -> Message:
    values: dict[str, Any] = {"parent_id": conversation.leaf_id}
    if role == "assistant":
        values |= {
            "model": LARGE,
            "finish_reason": "stop",
            "prompt_tokens": 38,
            "completion_tokens": 342,
            "cost_nanos": 281_200,
            "ttft_seconds": 0.21,
            "duration_seconds": 4.32,
        }
    made = Message.objects.create(
        conversation=conversation, role=role, content=content, **values | fields
    )
    search.index([made])
    return made


def compared(
    user: User, title: str, question: str, answers_given: Sequence[str]
) -> None:
    """Two models' answers to it, of which the second is voted for."""
    conversation = talk(
        user,
        title,
        [("user", question)],
        updated_at=now() - timedelta(minutes=20),
    )
    prompt = conversation.leaf
    answers = [
        message(conversation, "assistant", content, model=model, parent_id=prompt.pk)
        for content, model in zip(answers_given, (LARGE, SMALL), strict=True)
    ]
    conversation.leaf = answers[1]
    conversation.save(update_fields=["leaf"])
    Comparison.objects.create(
        user=user,
        prompt=prompt,
        answers=[str(answer.pk) for answer in answers],
        parameters=[{"temperature": 0.2}, {"temperature": 0.7}],
        model_names=[LARGE, SMALL],
        outcome=Comparison.Outcome.WINNER,
        winner=1,
        voted_at=now(),
    )


def write_shelves(user: User) -> None:
    slow = Conversation.objects.get(user=user, title=texts.TITLES[1][0])
    ConversationSetup.objects.create(
        conversation=slow,
        system_prompt="You are a patient database engineer. Ask for the plan first.",
        parameters={"temperature": 0.2, "max_tokens": 800, "seed": 7},
    )
    Preset.objects.create(
        user=user,
        name="Database engineer",
        model=LARGE,
        system_prompt="You are a patient database engineer.",
        parameters={"temperature": 0.2},
    )
    SavedPrompt.objects.create(user=user, name="explain", text="Explain {{topic}}.")
    SavedPrompt.objects.create(name="summary", text="Sum up in {{number}} sentences:")


# -- Access and usage ------------------------------------------------------------------


def write_keys(user: User, reader: User) -> list[ApiKey]:
    team = Team.objects.create(name="Research")
    for member in (user, reader):
        Membership.objects.create(team=team, user=member, role=Membership.Role.OWNER)
    in_a_month = now() + timedelta(days=30)
    notebook, _ = ApiKey.issue(user, "notebook", expires_at=in_a_month)
    pipeline, _ = ApiKey.issue(user, "nightly pipeline", team=team)
    Limit.put(Limit.Kind.TOKENS_PER_MONTH, 50_000_000, team_id=team.pk)
    Limit.put(Limit.Kind.REQUESTS_PER_MINUTE, 120, user_id=user.pk)
    return [notebook, pipeline]


def write_ledger(users: Sequence[User], keys: Sequence[ApiKey]) -> None:
    """A week with days and nights, most of it in the afternoons."""
    last = hour_of(now())
    entries = []
    for number in range(DAYS * 24):
        hour = last - number * HOUR
        made = list(entries_of(hour, number, users, keys))
        LedgerHour.objects.update_or_create(
            begins_at=hour, defaults={"num_written": len(made), "num_rolled_up": 0}
        )
        entries += made
    LedgerEntry.objects.bulk_create(entries, batch_size=500)
    rollups.roll_up()


def entries_of(
    hour: datetime, number: int, users: Sequence[User], keys: Sequence[ApiKey]
) -> list[LedgerEntry]:
    busy = 5 + 4 * math.cos((hour.hour - 15) * math.pi / 12)
    if hour.weekday() >= 5:
        busy /= 3
    shares = {LARGE: 2.0, SMALL: 1.4, "bge-m3": 0.6}
    made = []
    for model, place in pairs(shares, range(20)):
        if place >= busy * shares[model]:
            continue
        spread = (number * 31 + place * 17 + len(model) * 7) % 100
        is_chat = place % 3 == 0 and model != "bge-m3"
        key = None if is_chat else keys[spread % len(keys)]
        fails = spread == 13
        made.append(
            LedgerEntry(
                request_id=f"picture-{number}-{model}-{place}",
                face=LedgerEntry.Face.CHAT if is_chat else LedgerEntry.Face.API,
                endpoint="/v1/chat/completions",
                user=users[place % 2] if is_chat else users[0],
                key=key,
                team_id=key.team_id if key else None,
                model=model,
                stream=True,
                status=502 if fails else 200,
                error_code="upstream_error" if fails else "",
                finish_reason="" if fails else "stop",
                prompt_tokens=300 + 31 * spread,
                cached_tokens=100 + 11 * spread,
                completion_tokens=80 + 7 * spread,
                cost_nanos=(300 + 31 * spread) * 200 + (80 + 7 * spread) * 800,
                ttft_seconds=None if fails else 0.12 + busy / 60 + spread / 900,
                duration_seconds=2 + spread / 20,
                overhead_seconds=0.001,
                # Not in the future, whatever the minute is.
                created_at=hour if number == 0 else hour + spread * HOUR / 100,
            )
        )
    return made


def write_moderation(user: User, reader: User) -> None:
    falcon = ModerationRule.objects.create(
        name="Unreleased products",
        category="trade-secrets",
        terms="Project Falcon\n猎鹰计划",
        action=ModerationRule.Action.BLOCK,
    )
    keys = ModerationRule.objects.create(
        name="Access keys",
        category="secrets",
        pattern=r"\bsy-[a-z0-9-]{20,80}\b",
        action=ModerationRule.Action.REDACT,
    )
    found = (
        (falcon, user, "When does Project Falcon launch, and at what price?"),
        (falcon, reader, "把猎鹰计划的进展写成一封邮件。"),
        (keys, user, "Why is sy-0000-example-0000-0000 refused with 401?"),
        (falcon, reader, "Translate this page about Project Falcon."),
    )
    for number, (rule, asked_by, excerpt) in enumerate(found):
        ModerationFlag.objects.create(
            request_id=f"picture-flag-{number}",
            user=asked_by,
            face="chat",
            model=LARGE,
            rule=rule,
            rule_name=rule.name,
            category=rule.category,
            direction="input",
            action=rule.action,
            encrypted_excerpt=encryption.encrypt(excerpt),
            created_at=now() - timedelta(minutes=7 + 43 * number),
        )
    Revision.bump("moderation")


# -- The fleet -------------------------------------------------------------------------


def write_samples() -> None:
    """The last hour of each worker, a sample each minute."""
    samples = []
    for place, worker in enumerate(Worker.objects.order_by("address")):
        Worker.objects.filter(pk=worker.pk).update(engine_version="0.32.0")
        tokens = 4_000_000
        for minute in range(60):
            wave = 0.5 + 0.4 * math.sin(minute / 6 + 2 * place)
            tokens += int(60 * 900 * wave)
            samples.append(
                WorkerSample(
                    worker=worker,
                    taken_at=now() - timedelta(minutes=60 - minute),
                    start_id=worker.start_id,
                    running=int(24 * wave),
                    waiting=max(0, int(12 * wave) - 8),
                    kv_cache_usage=0.15 + 0.6 * wave,
                    generation_tokens_total=tokens,
                    num_requests=int(30 * wave),
                    num_first_tokens=int(30 * wave),
                    ttft_seconds=int(30 * wave) * (0.1 + 0.3 * wave),
                )
            )
    WorkerSample.objects.bulk_create(samples)
