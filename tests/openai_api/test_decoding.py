"""Bodies that two readers would understand differently, or that hide something."""

import asyncio
import itertools

import pytest
from openai.types import EmbeddingCreateParams
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params

from controller.errors import InvalidRequest, PermissionRefused
from openai_api.bodies import (
    IGNORED,
    ChatBody,
    CompletionBody,
    decode,
    known_names,
    read,
)
from openai_api.pooling import EmbeddingsBody

NO_SCOPES: frozenset[str] = frozenset()


def chat(*fields: str, content: str = '"Hi"') -> bytes:
    """A chat body with these JSON members besides the required ones."""
    messages = f'"messages": [{{"role": "user", "content": {content}}}]'
    members = ", ".join(['"model": "m"', messages, *fields])
    return f"{{{members}}}".encode()


def refused(raw: bytes, kind=ChatBody, scopes=NO_SCOPES) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, kind, scopes)
    return caught.value


# -- What is no JSON -------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{} {}",
        b'\xef\xbb\xbf{"model": "m"}',  # a byte order mark
        '{"model": "m"}'.encode("utf-16"),
        chat('"temperature": NaN'),
        chat('"temperature": Infinity'),
        chat('"temperature": 1e400'),
        chat('"temperature": 01'),
        chat('"max_tokens": ' + "1" * 5000),
        chat("'stream': true"),
        chat('"stream": true,'),
        chat('/* */ "stream": true'),
        chat(content=r'"\ud800"'),  # half of a surrogate pair
        chat(content='"a\nb"'),  # a control character, unescaped
    ],
)
def test_what_is_not_a_json_object_is_refused_as_such(raw):
    assert refused(raw).code == "invalid_json"


def test_text_that_is_not_utf_8_is_refused():
    assert refused(chat().replace(b"Hi", b"\xff")).code == "invalid_json"
    # UTF-8 of a lone surrogate, which Python would not encode again
    assert refused(chat().replace(b"Hi", b"\xed\xa0\x80")).code == "invalid_json"


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_nesting_without_end_is_refused_and_not_a_crash(opening, closing):
    nested = opening * 100_000 + "1" + closing * 100_000

    error = refused(chat(f'"response_format": {nested}'))

    assert "too deeply" in error.message


def test_unusual_but_valid_text_reaches_the_engine_as_it_is():
    _, body = decode(chat(content=r'"\u0000 \ud83d\ude00 \u2028"'), ChatBody, NO_SCOPES)

    assert body["messages"][0]["content"] == "\0 \U0001f600 \u2028"


async def test_a_long_body_of_many_parts_keeps_nobody_waiting():
    parts = ",".join(['{"type": "text", "text": "x"}'] * 100_000)
    turns = itertools.count()

    async def go_on() -> None:
        while True:
            next(turns)
            await asyncio.sleep(0)

    others = asyncio.create_task(go_on())
    _, body = await read(chat(content=f"[{parts}]"), ChatBody, NO_SCOPES)
    others.cancel()

    assert len(body["messages"][0]["content"]) == 100_000
    assert next(turns) > 10


# -- Names that stand twice ------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ('"model": "other"', "model"),
        (r'"mod\u0065l": "other"', "model"),
        ('"max_tokens": 1, "max_tokens": 100000', "max_tokens"),
        ('"metadata": {"a": {"b": 1, "b": 2}}', "b"),
        ('"tools": [{"type": "function", "type": "other"}]', "type"),
        ('"stream_options": {"include_usage": true, "include_usage": false}', None),
    ],
)
def test_a_name_that_stands_twice_is_refused_at_any_depth(field, name):
    error = refused(chat(field))

    assert error.code == "duplicate_field"
    assert error.param == name or name is None


def test_equal_names_in_different_objects_are_no_duplicates():
    more = b', {"role": "user", "content": "Hi"}]'
    raw = chat().replace(b"]", more)

    checked, _ = decode(raw, ChatBody, NO_SCOPES)

    assert len(checked.messages) == 2


@pytest.mark.parametrize("name", ["Model", "MAX_TOKENS", "Priority", "Store"])
def test_another_spelling_of_a_known_name_is_refused_even_with_the_engine_scope(name):
    error = refused(chat(f'"{name}": 1'), scopes=frozenset({"engine"}))

    assert error.param == name
    assert name.lower() in error.message


# -- What may reach the engine ---------------------------------------------------------


def test_an_engine_control_needs_its_scope():
    raw = chat('"priority": -100')

    with pytest.raises(PermissionRefused) as caught:
        decode(raw, ChatBody, frozenset({"inference"}))
    _, body = decode(raw, ChatBody, frozenset({"inference", "engine"}))

    assert caught.value.param == "priority"
    assert body["priority"] == -100


@pytest.mark.parametrize(
    ("sent", "kind", "refused_by_name"),
    [
        # An answer in sound, and a verdict of OpenAI's on the request: not to be had.
        (chat_params.CompletionCreateParamsBase, ChatBody, {"audio", "moderation"}),
        (completion_params.CompletionCreateParamsBase, CompletionBody, set()),
        (EmbeddingCreateParams, EmbeddingsBody, set()),
    ],
)
def test_every_field_of_the_official_client_is_one_of_ours(sent, kind, refused_by_name):
    ours = known_names(kind) | kind.passed | IGNORED

    assert set(sent.__annotations__) - ours == refused_by_name


def test_what_only_openai_understands_is_left_out_and_null_means_absent():
    raw = chat('"store": true', '"user": "u-1"', '"temperature": null', '"seed": 7')

    _, body = decode(raw, ChatBody, NO_SCOPES)

    assert set(body) == {"model", "messages", "seed"}


@pytest.mark.parametrize(
    "part",
    [
        '{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}',
        '{"type": "image_url", "image_url": {"url": " HTTPS://10.0.0.1/"}}',
        '{"type": "image_url", "image_url": "file:///etc/passwd"}',
        r'{"type": "image_url", "image_url": {"url": "ht\ntp://10.0.0.1/"}}',
        r'{"type": "image_url", "image_url": {"url": "\u0001http\t://10.0.0.1/"}}',
        '{"type": "video_url", "video_url": {"urls": ["http://10.0.0.1/"]}}',
        '{"type": "text", "text": "Hi", "audio_url": {"url": "http://10.0.0.1/"}}',
        '{"image_url": {"url": "http://10.0.0.1/"}}',
    ],
)
def test_an_address_that_the_engine_would_fetch_is_refused(part):
    inline = '{"type": "text", "text": "Look:"}'

    error = refused(chat(content=f"[{inline}, {part}]"))

    assert (error.code, error.param) == ("remote_media", "messages[0].content[1]")


@pytest.mark.parametrize(
    "part",
    [
        '{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}',
        '{"type": "input_audio", "input_audio": {"data": "//uQxA", "format": "mp3"}}',
        '{"type": "text", "text": "http://example.org/ is an address"}',
    ],
)
def test_media_in_the_request_itself_and_talk_of_addresses_pass(part):
    decode(chat(content=f"[{part}]"), ChatBody, NO_SCOPES)


def test_a_ceiling_is_named_with_its_value(settings):
    settings.MAX_CHOICES = 2
    raw = b'{"model": "m", "prompt": "x", "best_of": 3}'

    error = refused(raw, CompletionBody)

    assert error.param == "best_of"
    assert "limit of 2" in error.message
