"""Rules at work in a gateway: what reaches the engine, the client, and the rows."""

import logging
from datetime import timedelta

import msgspec
import pytest
from asgiref.sync import sync_to_async

from controller.errors import ContentBlocked, InvalidRequest
from controller.identity.caller import Caller, chat_caller
from controller.models import Membership, ModerationFlag, ModerationRule, Revision
from controller.relay import sse
from tests.controller.raw_engine import STREAM, answering_once, running_raw_engine
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    gateway_before,
    is_idle,
    ledger_row,
    make_request,
    read_all,
    text_of,
)
from tests.factories import make_moderation_rule, make_team, make_user
from tests.mock_engine import running_mock_engine
from workers.protocol import Task

pytestmark = pytest.mark.django_db(transaction=True)

new_rule = sync_to_async(make_moderation_rule)
new_team = sync_to_async(make_team)
new_user = sync_to_async(make_user)
SECRET = "Operation Falcon"
EXACTLY = {"engine": "vllm", "can_continue": True}


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL,), tokens=10) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture(autouse=True)
def rows_wait(settings) -> None:
    """Nothing is written before a test asks for it."""
    settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)


async def flags(gateway) -> list[ModerationFlag]:
    await gateway._write_flags()
    return [flag async for flag in ModerationFlag.objects.order_by("id")]


def tokens(first: int, last: int) -> str:
    """The mock engine's words, from one number to another."""
    return " ".join(f"t{number}" for number in range(first, last + 1))


def asked_of(engine) -> list:
    return [each.body for each in engine.requests()]


# -- What is asked ---------------------------------------------------------------------


async def test_a_blocked_prompt_reaches_no_worker(engine, caplog):
    caplog.set_level(logging.DEBUG)
    await new_rule(terms=SECRET)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ContentBlocked) as refused:
            await gateway.open(CALLER, make_request("About ｏperation\u200b FALCON"))

        assert asked_of(engine) == []
        assert await is_idle(gateway)
        row, [flag] = await ledger_row(gateway), await flags(gateway)
    assert (refused.value.status, refused.value.code) == (
        400,
        "content_policy_violation",
    )
    assert "secrets" in refused.value.message
    assert (row.status, row.error_code, row.worker_id) == (
        400,
        "content_policy_violation",
        None,
    )
    assert (flag.request_id, flag.user_id, flag.key_id) == (row.request_id, 7, 3)
    assert "FALCON" in flag.excerpt
    told = [refused.value.message, str(row.explanation), caplog.text]
    assert not [each for each in told if "falcon" in each.lower()]
    assert "FALCON" not in flag.encrypted_excerpt


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": "forbidden"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "FORBIDDEN"}]}
            ]
        },
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "forbidden"}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "function": {"name": "f", "arguments": "forbidden"}}
                    ],
                }
            ]
        },
        {"messages": [{"role": "forbidden", "content": "x"}]},
        {"messages": [{"role": "tool", "tool_call_id": "so forbidden"}]},
        {"messages": [{"role": "user", "content": [{"type": "forbidden"}]}]},
        {"messages": [], "tools": [{"function": {"description": "is forbidden"}}]},
        {"messages": [], "tools": [{"function": {"parameters": {"forbidden": {}}}}]},
        {"messages": [], "tools": [{"parameters": {"image": "forbidden"}}]},
        {"messages": [], "tools": [{"parameters": {"model": [{"id": "forbidden!"}]}}]},
        {"messages": [], "documents": [{"id": "a forbidden id", "text": "x"}]},
        {"prompt": ["fine", "forbidden"]},
        {"input": "forbidden"},
        {"query": "x", "documents": ["fine", "forbidden"]},
    ],
)
async def test_every_text_of_a_request_is_looked_at(engine, body: dict):
    await new_rule()
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, make_request(body={"model": MODEL, **body}))

    assert asked_of(engine) == []


async def test_the_words_of_the_api_are_nobodys_text(engine):
    words = "user\nassistant\nfunction\nproperties\nstring\nimage_url\nlogit\ncall"
    await new_rule(terms=words)
    await new_rule(pattern=r"\d{3}")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,123"}}
    call = {
        "id": "call_A123b",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": {}}}}
    body = {
        "model": MODEL,
        "stream": True,
        "messages": [
            {"role": "user", "content": [picture, {"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_A123b", "content": "x"},
        ],
        "tools": [{"type": "function", "function": tool}],
        "logit_bias": {"50256": -100},
    }
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        await read_all(await gateway.open(CALLER, make_request(body=body)))

        assert await flags(gateway) == []


async def test_a_name_that_a_model_reads_is_redacted_in_its_place(engine):
    await new_rule(action="redact", terms="falcon")
    schema = {"a": {}, "the falcon": {"description": "of the falcon"}, "z": {}}
    parameters = {"properties": schema, "required": ["the falcon"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    body = {"model": MODEL, "stream": True, "messages": [], "tools": tools}
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        await read_all(await gateway.open(CALLER, make_request(body=body)))

    [asked] = asked_of(engine)
    sent = asked["tools"][0]["function"]["parameters"]
    assert list(sent["properties"]) == ["a", "the [redacted]", "z"]
    assert sent["properties"]["the [redacted]"] == {"description": "of the [redacted]"}
    assert sent["required"] == ["the [redacted]"]


def in_parts(*texts: str) -> dict:
    parts = [{"type": "text", "text": text} for text in texts]
    messages = [{"role": "user", "content": parts}]
    return {"model": MODEL, "stream": True, "messages": messages}


async def test_a_term_that_is_split_over_parts_is_found(engine):
    await new_rule(action="redact", terms="falcon")
    await new_rule(terms="forbidden")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        split = in_parts("The fa", "lc", "on and a falcon", "fly")
        await read_all(await gateway.open(CALLER, make_request(body=split)))
        forbidden = make_request(body=in_parts("forbid", "den"))
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, forbidden)

    [body] = asked_of(engine)
    texts = [part["text"] for part in body["messages"][0]["content"]]
    assert texts == ["The [redacted]", "", " and a [redacted]", "fly"]


async def test_words_are_those_of_a_part_too(engine):
    await new_rule(pattern=r"\bforbidden\b")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        forbidden = make_request(body=in_parts("x", "forbidden"))
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, forbidden)


async def test_rules_of_a_team_hold_for_its_members_in_the_chat(
    engine,
):
    member, other = await new_user(), await new_user()
    team = await new_team(member)
    await new_rule(teams=[team.pk])
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        caller = await gateway.chat_caller(member.pk)
        with pytest.raises(ContentBlocked):
            await gateway.open(caller, make_request("forbidden"))
        caller = await gateway.chat_caller(other.pk)
        await read_all(await gateway.open(caller, make_request("forbidden")))
        await Membership.objects.acreate(team=team, user=other)
        assert (await gateway.chat_caller(other.pk)).teams == frozenset()
        await sync_to_async(Revision.bump)("keys")
        await gateway._look_for_changes()

        caller = await gateway.chat_caller(other.pk)
        with pytest.raises(ContentBlocked):
            await gateway.open(caller, make_request("forbidden"))


async def test_a_redacted_text_is_sent_without_it(engine):
    await new_rule(action="redact", pattern=r"\b\d{3}-\d{4}\b")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        await read_all(await gateway.open(CALLER, make_request("Call 555-0100 now")))

        [flag] = await flags(gateway)
    [body] = asked_of(engine)
    assert body["messages"][0]["content"] == "Call [redacted] now"
    assert flag.action == "redact"


async def test_a_flagged_text_is_sent_as_it_is_and_noted_once(engine):
    await new_rule(action="flag")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        text = "forbidden, forbidden, " + "x" * 1000
        await read_all(await gateway.open(CALLER, make_request(text)))

        [flag] = await flags(gateway)
    assert asked_of(engine)[0]["messages"][0]["content"] == text
    assert flag.excerpt.startswith("forbidden, ")
    assert len(flag.excerpt) <= 200


async def test_token_ids_are_refused_where_a_rule_would_have_to_read_them(engine):
    await new_rule(action="flag")
    ids = {"endpoint": "/v1/completions", "task": Task.COMPLETIONS}
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        body = {"model": MODEL, "prompt": [1, 2, 3], "stream": True}
        await read_all(await gateway.open(CALLER, make_request(body=body, **ids)))
        await new_rule()
        await gateway._look_for_changes()

        with pytest.raises(InvalidRequest, match="send text") as refused:
            await gateway.open(CALLER, make_request(body=body, **ids))
    assert refused.value.code == "text_required"
    assert len(asked_of(engine)) == 1


async def test_of_several_rules_the_first_by_priority_is_told(engine):
    await new_rule(category="later", priority=20)
    await new_rule(category="first", priority=10)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ContentBlocked, match="about first"):
            await gateway.open(CALLER, make_request("forbidden"))


@pytest.mark.parametrize(
    ("fields", "is_for_us"),
    [
        ({"faces": ["api"]}, True),
        ({"faces": ["chat"]}, False),
        ({"teams": [2]}, True),
        ({"teams": [3]}, False),
        ({"served_models": [MODEL]}, True),
        ({"served_models": ["other"]}, False),
        ({"direction": "output"}, False),
        ({"direction": "both"}, True),
        ({"enabled": False}, False),
    ],
)
async def test_a_rule_holds_where_it_says(engine, fields: dict, is_for_us: bool):
    await new_rule(**fields)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        if is_for_us:
            with pytest.raises(ContentBlocked):
                await gateway.open(CALLER, make_request("forbidden"))
        else:
            await read_all(await gateway.open(CALLER, make_request("forbidden")))

    assert bool(asked_of(engine)) != is_for_us


async def test_a_change_acts_without_a_restart(engine):
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        await read_all(await gateway.open(CALLER, make_request("forbidden")))
        rule = await new_rule()
        await gateway._look_for_changes()
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, make_request("forbidden"))
        await rule.adelete()
        await sync_to_async(Revision.bump)("moderation")
        await gateway._look_for_changes()

        await read_all(await gateway.open(CALLER, make_request("forbidden")))


async def test_a_row_that_no_form_let_through_is_left_out_and_said(engine, caplog):
    await new_rule()
    await ModerationRule.objects.acreate(name="broken", category="x", pattern="(")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, make_request("forbidden"))

    assert "the moderation rule broken is left out" in caplog.text


async def test_a_client_that_leaves_while_a_long_text_is_read_gives_its_place_back(
    engine, monkeypatch
):
    await new_rule()
    caller = Caller(face="api", identity="k", max_concurrent=1)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:

        async def left(*_arguments):
            raise ConnectionError

        monkeypatch.setattr("controller.moderation.moderator.asyncio.to_thread", left)
        with pytest.raises(ConnectionError):
            await gateway.open(caller, make_request("x", size=10**6))

        assert await is_idle(gateway)


# -- What is answered ------------------------------------------------------------------


@pytest.mark.parametrize("face", ["api", "chat"])
async def test_a_redacted_term_that_is_split_over_events_does_not_come_out(
    engine, face: str
):
    await new_rule(action="redact", direction="output", terms="T3 t4")
    caller = CALLER if face == "api" else chat_caller(1)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        exchange = await gateway.open(caller, make_request(show_usage=True))
        stream = await read_all(exchange)

        row, [flag] = await ledger_row(gateway), await flags(gateway)
    assert text_of(stream) == f"{tokens(0, 2)} [redacted] {tokens(5, 9)}"
    usage = sse.decode_events(stream)[-1]["usage"]
    assert (usage["completion_tokens"], row.completion_tokens) == (10, 10)
    assert (row.finish_reason, row.tokens_estimated) == ("stop", False)
    assert (flag.direction, flag.action, flag.face) == ("output", "redact", face)
    assert stream.endswith(sse.DONE_EVENT)


async def test_the_text_before_a_term_does_not_wait_for_what_is_not_one(engine):
    await new_rule(action="redact", direction="output", terms="t3 tx")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        stream = await read_all(await gateway.open(CALLER, make_request()))

    deltas = [
        event["choices"][0]["delta"].get("content")
        for event in sse.decode_events(stream)
    ]
    assert deltas[:6] == ["", "t0", " t1", " t2", " ", "t3 t4"]


async def test_a_block_ends_the_stream_and_the_engines_work(engine):
    await new_rule(direction="output", terms="t3 t4")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        asked = make_request("[[tokens=1000 interval_ms=5]]", show_usage=True)
        stream = await read_all(await gateway.open(CALLER, asked))

        row, idle = await ledger_row(gateway), await is_idle(gateway)
        [flag] = await flags(gateway)
    assert text_of(stream) == f"{tokens(0, 2)} "
    *_, ending, usage = sse.decode_events(stream)
    assert ending["choices"][0]["finish_reason"] == "content_filter"
    assert (row.status, row.finish_reason) == (200, "content_filter")
    assert 4 <= row.completion_tokens < 1000
    assert usage["usage"]["completion_tokens"] == row.completion_tokens
    assert stream.endswith(sse.DONE_EVENT)
    assert idle
    assert flag.action == "block"


@pytest.mark.parametrize(
    ("action", "text", "reason"),
    [
        ("redact", f"{tokens(0, 2)} [redacted] {tokens(5, 9)}", "stop"),
        ("block", f"{tokens(0, 2)} ", "content_filter"),
        ("flag", tokens(0, 9), "stop"),
    ],
)
async def test_a_whole_answer_is_moderated_too(
    engine, action: str, text: str, reason: str
):
    await new_rule(action=action, direction="output", terms="t3 t4")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        exchange = await gateway.open(CALLER, make_request(stream=False))
        await exchange.aclose()

        row, [flag] = await ledger_row(gateway), await flags(gateway)
    answer = msgspec.json.decode(exchange.body())
    assert answer["choices"][0]["message"]["content"] == text
    assert answer["choices"][0]["finish_reason"] == row.finish_reason == reason
    assert (answer["usage"]["completion_tokens"], row.completion_tokens) == (10, 10)
    assert flag.action == action


async def test_completions_are_moderated_as_well(engine):
    await new_rule(action="redact", direction="output", terms="t3 t4")
    request = make_request(
        endpoint="/v1/completions",
        task=Task.COMPLETIONS,
        body={"model": MODEL, "prompt": "Hi", "stream": True},
    )
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        stream = await read_all(await gateway.open(CALLER, request))

    events = sse.decode_events(stream)
    text = "".join(choice["text"] for each in events for choice in each["choices"])
    assert text == f"{tokens(0, 2)} [redacted] {tokens(5, 9)}"


async def test_who_has_no_output_rule_has_the_engines_own_bytes(engine):
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        request = make_request(request_id="a" * 24)
        before = await read_all(await gateway.open(CALLER, request))
        await new_rule(direction="output", terms="t3", teams=[77])
        await gateway._look_for_changes()
        exchange = await gateway.open(CALLER, make_request(request_id="a" * 24))

        assert exchange.screen is None
        assert await read_all(exchange) == before


async def test_a_term_that_stands_where_a_stream_moved_does_not_come_out(engine):
    await new_rule(action="redact", direction="output", terms="t6 t7")
    with running_mock_engine(key=KEY, models=(MODEL,), cut_after=7) as breaking:
        urls = (breaking.url, engine.url)
        async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
            asked = make_request("[[tokens=12 interval_ms=2]]")
            exchange = await gateway.open(CALLER, asked)
            stream = await read_all(exchange)

    assert exchange.num_moves == 1
    assert text_of(stream) == f"{tokens(0, 5)} [redacted] {tokens(8, 11)}"
    assert b"token_ids" not in stream


async def test_nothing_is_in_the_log_that_a_resumed_stream_is_read_from(engine):
    await new_rule(action="redact", direction="output", terms="t3 t4")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        exchange = await gateway.open(CALLER, make_request())
        reader = gateway.resumable.begin(exchange)
        first = await reader.read()
        await reader.aclose()
        await exchange_over(gateway)

        again = gateway.resumable.resume(CALLER, exchange.request.request_id, "")
        kept = b"".join([block async for block in blocks(again)])

    assert kept.startswith(first)
    assert "[redacted]" in text_of(kept)
    assert "t3" not in text_of(kept)
    assert "t4" not in text_of(kept)


async def exchange_over(gateway) -> None:
    await gateway.until_idle()


async def blocks(reader):
    while block := await reader.read():
        yield block


# -- Answers of other shapes, from an engine that says just this -----------------------


async def said(*events: dict | bytes, **fields) -> list[dict]:
    """The events that come out where the engine says these."""
    body = b"".join(
        event
        if isinstance(event, bytes)
        else b"data: " + msgspec.json.encode(event) + b"\n\n"
        for event in events
    )
    async with (
        running_raw_engine(answering_once(STREAM + b"\r\n" + body)) as engine,
        gateway_before(engine.url) as gateway,
    ):
        return sse.decode_events(
            await read_all(await gateway.open(CALLER, make_request(**fields)))
        )


def event(delta: dict, index: int = 0, finish: str | None = None, **more) -> dict:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def scores(*tokens: str) -> dict:
    return {"content": [{"token": token, "logprob": -1.0} for token in tokens]}


async def test_scores_of_redacted_tokens_are_left_out_and_others_wait_with_their_text():
    await new_rule(action="redact", direction="output", terms="falcon")

    out = await said(
        event({"content": "a "}, logprobs=scores("a ")),
        event({"content": "fal"}, logprobs=scores("fal")),
        event({"content": "con"}, logprobs=scores("con")),
        event({"content": " fa"}, logprobs=scores(" fa")),
        event({"content": "st"}, logprobs=scores("st"), token_ids=[7]),
        event({}, finish="stop"),
        sse.DONE_EVENT,
    )

    choices = [choice for each in out for choice in each["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    scored = [
        each["token"]
        for choice in choices
        if choice["logprobs"]
        for each in choice["logprobs"]["content"]
    ]
    assert text == "a [redacted] fast"
    assert scored == ["a ", " fa", "st"]
    assert not [choice for choice in choices if "token_ids" in choice]


async def test_tool_arguments_and_thoughts_are_texts_too():
    await new_rule(action="redact", direction="output", terms="falcon")
    call = {"index": 0, "id": "c", "type": "function"}

    out = await said(
        event({"reasoning_content": "I think fal"}),
        event({"reasoning_content": "con fal"}),
        event({"tool_calls": [call | {"function": {"name": "f", "arguments": ""}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '{"q":"fal'}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": "con fa"}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '"}'}}]}),
        event({}, finish="tool_calls"),
        sse.DONE_EVENT,
    )

    deltas = [choice["delta"] for each in out for choice in each["choices"]]
    thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    arguments = "".join(
        call["function"].get("arguments") or ""
        for delta in deltas
        for call in delta.get("tool_calls") or ()
    )
    assert thought == "I think [redacted] fal"
    first_call = next(at for at, each in enumerate(deltas) if "tool_calls" in each)
    assert not [
        each for each in deltas[first_call + 1 :] if "reasoning_content" in each
    ]
    assert arguments == '{"q":"[redacted] fa"}'


async def test_a_thought_between_the_halves_of_a_term_does_not_let_it_out():
    await new_rule(action="redact", direction="output", terms="t3 t4")

    events = await said(
        event({"content": "a t3"}),
        event({"reasoning": "hm"}),
        event({"content": " t4 b"}),
        event({}, finish="stop"),
    )

    deltas = [each["choices"][0]["delta"] for each in events]
    told = "".join(delta.get("content") or "" for delta in deltas)
    assert told == "a t3[redacted] b"


async def test_each_of_several_answers_is_read_by_itself():
    await new_rule(direction="output", terms="falcon")

    out = await said(
        event({"content": "fal"}, index=0),
        event({"content": "con"}, index=1),
        event({"content": "con"}, index=0),
        event({"content": " never"}, index=1),
        sse.DONE_EVENT,
    )

    endings = {
        choice["index"]: choice["finish_reason"]
        for each in out
        for choice in each["choices"]
        if choice["finish_reason"]
    }
    assert endings == dict.fromkeys((0, 1), "content_filter")
    assert "never" not in str(out)
    assert "fal" not in str(out)


async def test_what_is_held_comes_out_before_an_error():
    await new_rule(direction="output", terms="falcon")

    *events, error = await said(
        event({"content": "a fal"}),
        {"error": {"message": "broke", "type": "x", "code": 500}},
    )

    text = "".join(each["choices"][0]["delta"]["content"] for each in events)
    assert text == "a fal"
    assert "error" in error
