"""What a model is sent, worked out without database and network."""

from chat.composing.setups import PLAIN, Parameters, Setup
from chat.prompting import (
    MAX_IMAGE_CHARS,
    Document,
    Image,
    Reader,
    Said,
    estimate_tokens,
    request_body,
    size_of,
)

PICTURE = Image("cat.png", "data:image/png;base64,AAAA")


def told(*said, setup=PLAIN, **reader):
    return request_body("m", said, setup, Reader(**reader))["messages"]


def test_parameters_that_are_set_are_sent_and_no_others():
    setup = Setup(parameters=Parameters(temperature=0.0, stop=["END"]))

    body = request_body("m", [Said("user", "hello")], setup)

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "temperature": 0.0,
        "stop": ["END"],
    }


def test_the_instructions_come_first():
    messages = told(Said("user", "hello"), setup=Setup(system_prompt="Be brief."))

    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[1]["content"] == "hello"


def test_empty_messages_are_left_out_and_neighbours_of_a_role_joined():
    messages = told(
        Said("user", "one"),
        Said("assistant", ""),
        Said("user", "two"),
        Said("assistant", "three"),
    )

    assert [message["content"] for message in messages] == ["one\n\ntwo", "three"]


def test_a_document_stands_before_the_question_under_its_name():
    [message] = told(Said("user", "Sum up.", (Document("a.txt", "The text."),)))

    assert message["content"] == (
        '<document name="a.txt">\nThe text.\n</document>\n\nSum up.'
    )


def test_a_document_is_cut_to_the_context_and_the_model_is_told():
    long = Document("long.txt", "word " * 10_000)

    [message] = told(Said("user", "Sum up.", (long,)), context_length=1000)

    assert 700 * 3 < len(message["content"]) < 1000 * 3
    assert "of 50,000 characters; the rest does not fit.]" in message["content"]
    assert message["content"].endswith("Sum up.")
    assert estimate_tokens(message["content"]) < 1000


def test_the_latest_document_has_room_before_an_earlier_one():
    first, last = Document("1", "a" * 2000), Document("2", "b" * 2000)

    messages = told(
        Said("user", "one", (first,)),
        Said("assistant", "well"),
        Said("user", "two", (last,)),
        context_length=1200,
    )

    assert "b" * 2000 in messages[2]["content"]
    assert "a" * 2000 not in messages[0]["content"]
    assert "does not fit" in messages[0]["content"]


def test_a_document_that_is_cut_within_a_character_stays_readable():
    [message] = told(
        Said("user", "?", (Document("a", "汉" * 2000),)), context_length=800
    )

    assert "\ufffd" not in message["content"]
    assert "does not fit" in message["content"]


def test_without_a_known_context_documents_are_sent_whole():
    [message] = told(Said("user", "?", (Document("a", "x" * 500_000),)))

    assert "x" * 500_000 in message["content"]


def test_a_model_that_sees_is_sent_pictures_as_parts():
    [message] = told(Said("user", "What is it?", images=(PICTURE,)), sees=True)

    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": PICTURE.url}},
        {"type": "text", "text": "What is it?"},
    ]


def test_a_model_that_does_not_see_is_told_of_a_picture_in_words():
    [message] = told(Said("user", "What is it?", images=(PICTURE,)))

    assert message["content"] == (
        "[The image cat.png is not shown to you.]\n\nWhat is it?"
    )


def test_more_pictures_than_a_request_holds_leave_out_the_oldest():
    big = Image("big.png", "data:" + "A" * (MAX_IMAGE_CHARS // 2))

    messages = told(
        *(Said(role, "?", images=(big,)) for role in ("user", "assistant", "user")),
        sees=True,
    )

    assert "not shown" in messages[0]["content"]
    assert isinstance(messages[2]["content"], list)


def test_the_size_of_a_body_counts_pictures_too():
    body = request_body(
        "m", [Said("user", "What?", images=(PICTURE,))], reader=Reader(sees=True)
    )

    assert size_of(body) == len("What?") + len(PICTURE.url)


def test_an_empty_path_is_no_message():
    assert told() == []
