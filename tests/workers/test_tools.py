import json

import pytest

from workers.transformers_engine.tools import ToolCallReader

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'


def read(text: str, step: int) -> tuple[str, list[str]]:
    """Feed `text` in pieces of `step` letters; return the content and the names."""
    reader, content, names = ToolCallReader(), "", []
    for start in range(0, len(text), step):
        piece = reader.feed(text[start : start + step], is_last=False)
        content += piece.content
        names += [call["function"]["name"] for call in piece.calls]
    last = reader.feed("", is_last=True)
    return content + last.content, names + [
        call["function"]["name"] for call in last.calls
    ]


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "content", "names"),
    [
        ("No tool is needed: 1 < 2.", "No tool is needed: 1 < 2.", []),
        (f"Let me see. {CALL}", "Let me see. ", ["weather"]),
        (f"{CALL}\n{CALL}", "", ["weather", "weather"]),
        ("<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>", []),
        (CALL.removesuffix("\n</tool_call>"), "", ["weather"]),
        ("It ends with <tool", "It ends with <tool", []),
        ('<tool_call>\n{"name": "wea', '<tool_call>\n{"name": "wea', []),
    ],
)
def test_text_and_calls_are_told_apart_however_they_come(
    text: str, content: str, names: list[str], step: int
) -> None:
    assert read(text, step) == (content, names)


def test_calls_are_numbered_and_their_arguments_are_json_text() -> None:
    first, second = ToolCallReader().feed(CALL + CALL, is_last=True).calls

    assert (first["index"], second["index"]) == (0, 1)
    assert first["id"] != second["id"]
    assert json.loads(first["function"]["arguments"]) == {"city": "Köln"}
