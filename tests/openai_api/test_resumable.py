"""A client that lost its connection comes back for the rest of its stream."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    Response,
    chat_content,
    events_of,
    joined,
    manage,
    quick_product,
)

RESUME_SECONDS = 5
RESUMABLE = {"x-switchyard-resumable": "1"}
PACED = "[[tokens=40 interval_ms=25]]"
ANSWER = " ".join(f"t{number}" for number in range(40))


@pytest.fixture(scope="module")
def engine() -> Iterator[MockEngine]:
    with running_mock_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def product(engine: MockEngine, new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    seconds = str(RESUME_SECONDS)
    with (
        quick_product(new_var_dir(), RESUME_SECONDS=seconds) as product,
        joined(product, engine),
    ):
        yield product


@pytest.fixture(autouse=True)
def forgetful(engine: MockEngine) -> None:
    engine.reset()


@contextmanager
def begun(product: Product, text: str = PACED, key: str = "") -> Iterator[HTTPResponse]:
    """A resumable stream of which nothing is read; leaving loses the connection."""
    key = key or product.credentials.api_key
    headers = {"Authorization": f"Bearer {key}"} | RESUMABLE
    connection = product.connect()
    content = chat_content(text, stream=True)
    try:
        body = msgspec.json.encode(content)
        connection.request("POST", CHAT_PATH, body, headers)
        with connection.getresponse() as response:
            assert response.status == 200
            yield response
    finally:
        connection.close()


def read_some(response: HTTPResponse, num_bytes: int) -> bytes:
    """So many bytes, which end where they happen to."""
    return response.read(num_bytes)


def last_id(body: bytes) -> str:
    """The id of the last event that came in whole; none of one that is cut."""
    whole = body[: body.rfind(b"\n\n") + 2]
    ids = re.findall(rb"^id: (\d+)$", whole, re.MULTILINE)
    return ids[-1].decode() if ids else ""


def resume(
    product: Product, stream_id: str, after: str, key: str | None = None
) -> Response:
    headers = {"Last-Event-ID": after} if after else {}
    key = product.credentials.api_key if key is None else key
    return product.call("GET", f"/v1/streams/{stream_id}", key, headers=headers)


def text_of(*bodies: bytes) -> str:
    """The text of all whole events of these bodies, one after another."""
    events = [
        event
        for body in bodies
        for event in events_of(re.sub(rb"^id: \d+\n", b"", whole(body), flags=re.M))
    ]
    choices = [choice for event in events for choice in event.get("choices", ())]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def whole(body: bytes) -> bytes:
    return body[: body.rfind(b"\n\n") + 2]


def test_events_are_numbered_and_only_if_asked(product: Product):
    with begun(product, "[[tokens=5]]") as response:
        numbered = response.read()
    plain = product.chat("[[tokens=5]]", stream=True).body

    ids = re.findall(rb"^id: (\d+)\ndata: ", numbered, re.MULTILINE)
    assert ids == [b"%d" % number for number in range(1, len(ids) + 1)]
    assert len(ids) == numbered.count(b"data: ") == plain.count(b"data: ")
    assert b"id: " not in plain.replace(b'"id"', b"")
    assert numbered.endswith(b"data: [DONE]\n\n")


def test_a_stream_goes_on_where_its_connection_broke_in_mid_event(
    product: Product, engine: MockEngine
):
    with begun(product) as response:
        stream_id = response.headers["x-request-id"]
        first = read_some(response, 2000)
    assert not first.endswith(b"\n\n")

    rest = resume(product, stream_id, last_id(first))

    assert (rest.status, rest.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert text_of(first, rest.body) == ANSWER
    assert rest.body.endswith(b"data: [DONE]\n\n")
    row = product.ledger_row(request_id=stream_id)
    assert (row["status"], row["completion_tokens"]) == (200, 40)
    assert engine.totals().cancelled == 0


def test_a_connection_may_be_lost_more_than_once(product: Product):
    with begun(product) as response:
        stream_id = response.headers["x-request-id"]
        parts = [whole(read_some(response, 1500))]
    headers = {"Authorization": f"Bearer {product.credentials.api_key}"}
    for _ in range(2):
        connection = product.connect()
        after = {"Last-Event-ID": last_id(parts[-1])}
        path = f"/v1/streams/{stream_id}"
        connection.request("GET", path, headers=headers | after)
        parts.append(whole(connection.getresponse().read(1500)))
        connection.close()

    parts.append(resume(product, stream_id, last_id(parts[-1])).body)

    assert text_of(*parts) == ANSWER


def test_a_stream_that_has_ended_is_kept_for_a_while(product: Product):
    with begun(product, "[[tokens=5]]") as response:
        stream_id = response.headers["x-request-id"]
        everything = response.read()

    assert resume(product, stream_id, "").body == everything
    rest = everything[everything.index(b"id: 7\n") :]
    assert resume(product, stream_id, "6").body == rest
    assert resume(product, stream_id, last_id(everything)).body == b""


def test_a_stream_is_its_keys_alone(product: Product):
    command = "create_key --user admin --name other"
    other = manage(product.var_dir, *command.split()).stdout.split()[-1]
    with begun(product, "[[tokens=5]]") as response:
        stream_id = response.headers["x-request-id"]
        response.read()

    refused = resume(product, stream_id, "", other)
    unknown = resume(product, "0" * 24, "")

    assert (refused.status, refused.error["code"]) == (404, "not_found")
    assert refused.error == unknown.error


def test_a_key_comes_back_to_the_streams_of_its_endpoints(product: Product):
    command = "create_key --user admin --name bound --endpoints /v1/chat/completions"
    bound = manage(product.var_dir, *command.split()).stdout.split()[-1]
    with begun(product, "[[tokens=5]]", bound) as response:
        stream_id = response.headers["x-request-id"]
        everything = response.read()

    assert resume(product, stream_id, "", bound).body == everything
    # Another web process, which does not know the stream, says so and not "forbidden".
    assert resume(product, "0" * 24, "", bound).status == 404


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "99999", "9" * 500])
def test_an_id_that_the_stream_never_sent_is_a_bad_request(
    product: Product, wrong: str
):
    with begun(product, "[[tokens=5]]") as response:
        stream_id = response.headers["x-request-id"]
        response.read()

    refused = resume(product, stream_id, wrong)

    assert (refused.status, refused.error["param"]) == (400, "Last-Event-ID")


def test_who_comes_too_late_is_told_and_pays_for_what_was_done(
    product: Product, engine: MockEngine
):
    with begun(product, "[[tokens=4000 interval_ms=20]]") as response:
        stream_id = response.headers["x-request-id"]
        first = read_some(response, 1500)
    engine.wait_for(timeout=RESUME_SECONDS * 4, cancelled=1)

    gone = resume(product, stream_id, last_id(first))

    assert (gone.status, gone.error["code"]) == (410, "stream_gone")
    assert "left alone" in gone.error["message"]
    row = product.ledger_row(request_id=stream_id)
    assert (row["status"], row["tokens_estimated"]) == (499, 1)
    # The engine ran on all that time.
    assert row["completion_tokens"] > RESUME_SECONDS * 20


def test_the_newest_connection_has_the_stream(product: Product):
    with begun(product) as response:
        stream_id = response.headers["x-request-id"]
        first = whole(read_some(response, 1500))

        rest = resume(product, stream_id, last_id(first))
        left = response.read()  # ends, since another connection has taken over

    assert text_of(first, rest.body) == ANSWER
    assert not left.endswith(b"data: [DONE]\n\n")


def test_the_official_client_can_come_back(product: Product):
    with openai.OpenAI(
        base_url=f"{product.url}/v1", api_key=product.credentials.api_key
    ) as client:
        stream = client.chat.completions.create(
            model="mock-1",
            messages=[{"role": "user", "content": PACED}],
            stream=True,
            extra_headers=RESUMABLE,
        )
        stream_id = stream.response.headers["x-request-id"]
        chunks = [next(iter(stream)) for _ in range(7)]
        stream.close()

        chunks += client.get(
            f"/streams/{stream_id}",
            options={"headers": {"Last-Event-ID": "7"}},
            cast_to=ChatCompletionChunk,
            stream=True,
            stream_cls=openai.Stream[ChatCompletionChunk],
        )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == ANSWER
    assert len({chunk.id for chunk in chunks}) == 1
