"""What is read of a request for dispatch: its prompt's length and beginning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.prompts import (
    BLOCK_BYTES,
    MAX_CHAIN_BLOCKS,
    hash_chain,
    prompt_text,
)
from controller.fleet.wishes import Wish, wish_for
from controller.identity.caller import Caller
from controller.relay.request import InferenceRequest
from workers.protocol import Task

LONG = "The quick brown fox jumps over the lazy dog. " * 40


def wish(body: dict, team_id: int | None = None, **fields) -> Wish:
    caller = Caller(face="api", identity="key:1", team_id=team_id)
    request = InferenceRequest(
        endpoint="/v1/chat/completions", task=Task.CHAT, model="m", body=body, **fields
    )
    return wish_for(caller, request, reads_prompt=True)


def chat(*texts: str, **fields) -> dict:
    """A conversation of user and assistant by turns."""
    roles = ("user", "assistant")
    messages = [
        {"role": roles[at % 2], "content": text} for at, text in enumerate(texts)
    ]
    return {"messages": messages, **fields}


def num_shared(one: Wish, other: Wish) -> int:
    """How many leading blocks two prompts have in common."""
    pairs = zip(one.chain, other.chain, strict=False)
    return next(
        (at for at, (a, b) in enumerate(pairs) if a != b),
        min(len(one.chain), len(other.chain)),
    )


def test_the_next_turn_begins_with_the_whole_last_one():
    first = wish(chat(LONG))
    second = wish(chat(LONG, "An answer.", "And then?" * 100))

    assert len(first.chain) == len(LONG) // BLOCK_BYTES
    assert second.chain[: len(first.chain)] == first.chain
    assert len(second.chain) > len(first.chain)


def test_a_change_at_the_beginning_changes_every_block():
    assert num_shared(wish(chat(LONG)), wish(chat("!" + LONG))) == 0


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_prompts_share_as_many_blocks_as_their_texts_have_in_common(one, other):
    raws = one.encode(), other.encode()
    same = next(
        (at for at, (a, b) in enumerate(zip(*raws, strict=False)) if a != b),
        min(map(len, raws)),
    )
    chains = hash_chain(one, 0), hash_chain(other, 0)

    shared = [a == b for a, b in zip(*chains, strict=False)]

    assert shared.count(True) == same // BLOCK_BYTES
    assert shared == sorted(shared, reverse=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": [{"role": "system", "content": LONG}]},
        chat(LONG, tools=[{"type": "function", "function": {"name": "f"}}]),
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"prompt": LONG[1:]},
    ],
)
def test_role_tools_media_and_text_are_parts_of_the_prompt(changed):
    assert num_shared(wish(chat(LONG)), wish(changed)) == 0


def test_text_in_parts_is_text():
    parts = {"role": "user", "content": [{"type": "text", "text": LONG}]}

    assert wish({"messages": [parts]}).chain == wish(chat(LONG)).chain


def test_two_pictures_are_two_prompts_and_count_the_same_whatever_their_size():
    def seen(picture: str) -> Wish:
        part = {"type": "image_url", "image_url": {"url": f"data:{picture}"}}
        content = [part, {"type": "text", "text": LONG}]
        return wish({"messages": [{"role": "user", "content": content}]})

    small, large = seen("a"), seen("b" * 100_000)
    assert num_shared(small, large) == 0
    assert abs(small.prompt_tokens - large.prompt_tokens) < 10
    assert small.prompt_tokens > len(LONG) // 4 + 1000


def test_token_ids_are_read_too():
    one = wish({"prompt": list(range(1000))})
    other = wish({"prompt": [*range(900), *range(100)]})

    assert 0 < num_shared(one, other) < len(one.chain)


def test_teams_do_not_see_each_others_prompts():
    mine, theirs = wish(chat(LONG), team_id=1), wish(chat(LONG), team_id=2)

    assert wish(chat(LONG), team_id=1).chain == mine.chain
    assert num_shared(mine, theirs) == 0


def test_a_longer_prompt_than_any_is_not_read_to_its_end():
    endless = wish(chat("word " * BLOCK_BYTES * MAX_CHAIN_BLOCKS))

    assert len(endless.chain) == MAX_CHAIN_BLOCKS
    assert endless.prompt_tokens == pytest.approx(5 * 512 * 1024 / 4, rel=0.01)


def test_the_chain_is_not_made_for_a_policy_that_does_not_look_at_it():
    request = InferenceRequest(
        endpoint="/v1/chat/completions", task=Task.CHAT, model="m", body=chat(LONG)
    )

    made = wish_for(Caller(face="api", identity="key:1"), request, reads_prompt=False)

    assert made.chain == ()
    assert made.prompt_tokens == pytest.approx(len(LONG) / 4, rel=0.01)


def test_a_session_is_its_callers_own():
    assert wish(chat("Hi"), session="a").session == "key:1 a"
    assert wish(chat("Hi")).session == ""


def test_tokens_in_blocks_are_never_more_than_the_prompts():
    made = wish(chat(LONG))

    assert made.tokens_in_blocks(1) == BLOCK_BYTES // 4
    assert made.tokens_in_blocks(1000) == made.prompt_tokens
    assert prompt_text({}) == ("", 0)
