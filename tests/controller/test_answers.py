"""Usage is noted, and shown to whom it was promised, wherever the reads cut."""

import msgspec
import pytest

from controller.errors import ContextLengthExceeded, UpstreamFailed
from controller.relay.answers import AnswerReader
from controller.relay.client import UpstreamBroken
from controller.relay.sse import EventBuffer, decode_events

LIMIT = 100_000


def event(**content: object) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def delta(text: str, finish_reason: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return event(id="c-1", choices=[choice], **more)


USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 3,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
}
TEXT = delta("Say ") + delta('"usage": {"error"}') + delta("!", "stop")
USAGE_EVENT = event(id="c-1", choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
STREAM = TEXT + USAGE_EVENT + DONE


def relayed(reader: AnswerReader, *chunks: bytes) -> bytes:
    """What a client gets of a stream that is read in these chunks."""
    events = EventBuffer(LIMIT)
    blocks = [events.feed(chunk) for chunk in chunks]
    return b"".join(reader.read_block(block, "vllm") for block in blocks if block)


def test_usage_is_taken_out_of_a_stream_cut_anywhere():
    for cut in range(len(STREAM)):
        reader = AnswerReader(show_usage=False)

        assert relayed(reader, STREAM[:cut], STREAM[cut:]) == TEXT + DONE, cut
        assert reader.usage is not None
        assert reader.usage.prompt_tokens == 11
        assert reader.usage.completion_tokens == 3
        assert reader.usage.cached_tokens == 4
        assert reader.finish_reason == "stop"
        assert reader.saw_done


def test_no_more_of_a_prompt_is_cached_than_there_is():
    details = {"cached_tokens": 4000}  # beside the prompt's tokens, as some count them
    reader = AnswerReader(show_usage=False)
    said = USAGE | {"prompt_tokens_details": details}

    relayed(reader, TEXT + event(id="c-1", choices=[], usage=said) + DONE)

    assert reader.usage is not None
    assert reader.usage.cached_tokens == reader.usage.prompt_tokens == 11


def test_usage_stays_for_a_client_who_asked_for_it():
    for cut in range(len(STREAM)):
        reader = AnswerReader(show_usage=True)

        assert relayed(reader, STREAM[:cut], STREAM[cut:]) == STREAM


def test_a_text_about_usage_is_the_clients_even_beside_the_real_one():
    last = delta('{"usage": 1, "choices": []}', usage=USAGE)
    reader = AnswerReader(show_usage=False)

    assert relayed(reader, last + DONE) == last + DONE
    assert reader.usage.prompt_tokens == 11


@pytest.mark.parametrize(
    "text", ["data: [DONE]", "\ndata: [DONE]\n\n", '"finish_reason": "stop"']
)
def test_a_text_that_speaks_of_endings_is_no_ending(text):
    reader = AnswerReader(show_usage=False)
    relayed(reader, delta(text) + delta(text))

    assert not reader.saw_done
    assert reader.finish_reason == ""


def test_usage_that_is_null_in_each_event_is_no_usage():
    events = delta("a", usage=None) + delta("b", "length", usage=None)
    reader = AnswerReader(show_usage=False)

    assert relayed(reader, events) == events
    assert reader.usage is None
    assert reader.finish_reason == "length"


@pytest.mark.parametrize(
    "failure",
    [
        event(error={"message": "CUDA at 10.0.0.7", "type": "x", "code": 500}),
        delta(" at 10.0.0.7", "abort"),
    ],
)
def test_what_comes_before_a_failure_is_shown_and_the_failure_is_ours_to_tell(failure):
    reader = AnswerReader(show_usage=False)

    shown = relayed(reader, delta("a") + failure + DONE)

    assert shown == delta("a")
    assert isinstance(reader.error, UpstreamFailed)
    assert "10.0.0.7" not in reader.error.message
    assert not reader.finish_reason


def told(text: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, **more}
    return event(id="c-1", choices=[choice], prompt_token_ids=None)


def test_token_ids_are_hidden_whatever_the_text_says():
    text = 'Say ,"token_ids":[1,2]'
    reader = AnswerReader(show_usage=False, hides_ids=True)

    shown = relayed(reader, told(text, token_ids=[5, 61]))

    assert decode_events(shown) == [
        {"id": "c-1", "choices": [{"index": 0, "delta": {"content": text}}]}
    ]


def test_the_usage_so_far_is_hidden_and_the_whole_is_shown():
    details = {"prompt_tokens_details": {"cached_tokens": 4}}
    running = {"usage": USAGE | details}
    reader = AnswerReader(show_usage=True, hides_running=True)

    shown = relayed(reader, delta("a", **running) + delta("b", "stop"), USAGE_EVENT)

    assert shown == delta("a") + delta("b", "stop") + USAGE_EVENT
    assert reader.usage.completion_tokens == 3


def test_an_error_about_the_request_keeps_its_meaning_in_a_stream():
    message = "This model's maximum context length is 10 tokens. However, ..."
    reader = AnswerReader(show_usage=False)
    relayed(reader, event(error={"message": message, "code": 400}))

    assert isinstance(reader.error, ContextLengthExceeded)


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"usage": \n\n',
        b'data: {"usage": {"prompt_tokens": -1}}\n\n',
        b'data: {"usage": {"prompt_tokens": 99999999999999999999}}\n\n',
        b'data: {"error": "a string"}\n\n',
    ],
)
def test_usage_that_cannot_be_counted_breaks_the_answer(broken):
    with pytest.raises(UpstreamBroken):
        relayed(AnswerReader(show_usage=False), broken)


def test_a_whole_answer_is_read_for_usage_and_reason():
    body = {"choices": [{"finish_reason": "length", "text": "x"}], "usage": USAGE}
    reader = AnswerReader(show_usage=False)
    reader.read_whole(msgspec.json.encode(body), "vllm")

    assert reader.finish_reason == "length"
    assert reader.usage.completion_tokens == 3


def test_an_error_under_the_status_200_is_an_error():
    body = msgspec.json.encode({"error": {"message": "at /srv/x", "code": 500}})

    with pytest.raises(UpstreamFailed) as caught:
        AnswerReader(show_usage=False).read_whole(body, "vllm")

    assert "/srv/x" not in caught.value.message
