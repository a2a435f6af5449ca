"""The chat in the terminal, on a real pseudo-terminal, with real engines."""

import re

import pytest

from chat.terminal.talks import load
from tests.product import wait_until
from tests.terminals import SECONDS, Terminal, running_terminal
from tests.whole_line.lines import MODELS, Line

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

TRANSFORMERS, VLLM = MODELS["transformers"], MODELS["vllm"]


def settings(terminal: Terminal, model: str, max_tokens: int) -> None:
    terminal.type_at_prompt(f"/model {model}\r")
    terminal.wait_for(f"Model: {model}")
    terminal.type_at_prompt(f"/set max_tokens {max_tokens}\r")
    terminal.wait_for(f"max_tokens = {max_tokens}")


def first_word(line: Line, num_said: int) -> str:
    """What the engine says next begins with this word."""

    def found() -> str | None:
        texts = line.said_by(VLLM)[num_said:]
        word = re.search(r"(\w+)\W+\w", texts[0]) if texts else None
        return word and word[1]

    return wait_until(found, "the engine's first words", SECONDS)


def test_a_person_talks_with_two_engines_stops_one_and_keeps_it_all(
    line: Line, tmp_path
):
    with running_terminal(line.product, tmp_path, num_columns=40) as terminal:
        terminal.type_at_prompt("/set temperature 0\r")
        settings(terminal, TRANSFORMERS, 24)
        terminal.type_at_prompt("What is the capital of France?\r")
        terminal.wait_for("Paris")

        settings(terminal, VLLM, 16)
        terminal.type_at_prompt("/regenerate\r")
        terminal.wait_for("is")
        settings(terminal, VLLM, 1000)
        num_said = len(line.said_by(VLLM))
        terminal.type_at_prompt("请讲一个关于火车的长故事。\r")
        terminal.wait_for(first_word(line, num_said))
        terminal.type("\x03")
        terminal.wait_for("Stopped")
        line.wait_until_idle(VLLM)

        terminal.type_at_prompt("/save talk.json\r")
        terminal.wait_for("Saved in talk.json")
        terminal.type_at_prompt("/new\r")
        terminal.type_at_prompt("/load talk.json\r")
        terminal.wait_for("messages, model")
        terminal.type_at_prompt("\x04")
        assert terminal.process.wait(SECONDS) == 0

    said = [each.text for each in line.recorders[VLLM].said[-2:]]
    question, answer, story, begun = load(tmp_path / "talk.json").messages
    assert question.content == "What is the capital of France?"
    assert (answer.content, answer.model) == (said[0], VLLM)
    assert story.content.startswith("请讲")
    assert begun.content
    assert said[1].startswith(begun.content)
    assert b"^C" not in terminal.all_shown
