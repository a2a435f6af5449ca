"""What an operator may see of a worker's log."""

import logging

import pytest

from workers.log_tail import HIDDEN, LineSplitter, LogTail
from workers.protocol import MAX_LOG_LINE, MAX_LOG_LINES


def test_the_last_lines_are_kept_and_no_more() -> None:
    tail = LogTail()
    for number in range(MAX_LOG_LINES + 5):
        tail.add(f"line {number}")
    tail.add("x" * 10 * MAX_LOG_LINE)

    assert len(tail.lines()) == MAX_LOG_LINES
    assert tail.lines()[0] == "line 6"
    assert len(tail.lines()[-1]) == MAX_LOG_LINE


def test_lines_come_out_of_pieces_and_progress_bars_show_their_end() -> None:
    tail = LogTail()
    lines = LineSplitter(tail)
    for piece in (b"one\ntw", b"o\nLoading 10%\rLoading", b" 90%\r\n\n", b"rest"):
        lines.feed(piece)
    lines.close()

    assert tail.lines() == ["one", "two", "Loading 90%", "rest"]


def test_an_endless_line_does_not_grow() -> None:
    lines = LineSplitter(LogTail())
    for _ in range(1000):
        lines.feed(b"x" * 1000)

    assert len(lines._rest) <= 8 * MAX_LOG_LINE


@pytest.mark.parametrize(
    "line",
    [
        "joining with sy-join-SECRETsecret0123456789",
        "Authorization: Bearer SECRETsecret0123456789",
        'config: {"api_key": "SECRETsecret0123456789", "port": 1}',
        "HF_TOKEN=SECRETsecret0123456789",
        "downloading https://user:SECRETsecret0123456789@mirror.example.com/",
        "using key hf_SECRETsecret0123456789",
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str) -> None:
    tail = LogTail()
    tail.add(line)

    [seen] = tail.lines()
    assert "SECRETsecret" not in seen
    assert HIDDEN in seen


def test_a_secret_that_is_known_is_hidden_wherever_it_stands() -> None:
    tail = LogTail()
    tail.add("the engine got k3y-of-ours in its environment")
    tail.hide("k3y-of-ours")

    assert tail.lines() == [f"the engine got {HIDDEN} in its environment"]


def test_terminal_controls_are_left_out_and_records_are_lines() -> None:
    tail = LogTail()
    said = "\x1b[32mready\x1b[0m\x00\nand more"
    tail.handle(logging.makeLogRecord({"msg": said}))

    assert tail.lines() == ["ready", "and more"]
