"""Events come out whole, wherever the reads cut."""

import pytest

from controller.relay.sse import (
    EventBuffer,
    EventTooLong,
    decode_events,
    event_data,
    split_events,
)

STREAM = (
    b'data: {"a": 1}\n\n'
    b": a comment\n\n"
    b'event: message\ndata: {"b":\ndata: 2}\n\n'
    b'data: {"text": "\\n\\n \xc3\xa9 \xf0\x9f\x98\x80"}\n\n'
    b"data: [DONE]\n\n"
)
LIMIT = 10_000


def feed_all(chunks: list[bytes]) -> list[bytes]:
    buffer = EventBuffer(LIMIT)
    return [block for chunk in chunks if (block := buffer.feed(chunk))]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11])
def test_events_are_the_same_in_reads_of_any_size(line_end, size):
    sent = STREAM.replace(b"\n", line_end) + b": end"  # ends a lone, held "\r"
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]

    blocks = feed_all(chunks)

    assert b"".join(blocks) == STREAM
    assert all(block.endswith(b"\n\n") for block in blocks)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_may_be_cut_at_every_two_places(line_end):
    sent = STREAM.replace(b"\n", line_end)
    for first in range(len(sent)):
        for second in range(first, len(sent)):
            chunks = [sent[:first], sent[first:second], sent[second:]]

            assert b"".join(feed_all(chunks)) == STREAM, (first, second)


def test_what_has_not_ended_stays_inside():
    buffer = EventBuffer(LIMIT)

    assert buffer.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert buffer.feed(b"data: 3\n") == b""
    assert buffer.feed(b"\n") == b"data: 2\ndata: 3\n\n"


def test_a_whole_read_is_handed_on_without_a_copy():
    assert EventBuffer(LIMIT).feed(STREAM) is STREAM


def test_an_event_that_never_ends_is_not_collected_for_ever():
    buffer = EventBuffer(limit=100)
    buffer.feed(b"data: " + b"x" * 90)

    with pytest.raises(EventTooLong, match="100 bytes"):
        buffer.feed(b"x" * 90)


def test_a_long_event_within_the_bound_comes_out_whole():
    event = b"data: " + b"x" * 5000 + b"\n\n"

    assert b"".join(feed_all([event[i : i + 16] for i in range(0, 5008, 16)])) == event


def test_only_json_is_decoded_and_comments_are_none():
    expected = [{"a": 1}, {"b": 2}, {"text": "\n\n é \U0001f600"}]

    assert decode_events(STREAM) == expected
    assert event_data(b": a comment\n\n") == b""
    assert len(split_events(STREAM)) == 5
