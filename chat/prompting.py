"""What a model is sent: a conversation, its set-up and its attachments, as a body.

Pure: no database, no network. `conversations` loads what was said, `generations` knows
who reads it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from chat.composing.setups import PLAIN, Setup

# Documents are counted with fewer bytes to a token than dispatch counts with: what is
# attached is often code or numbers, and too much text is refused as a whole.
BYTES_PER_TOKEN = 3
TOKENS_PER_IMAGE = 1_024
# What an answer gets of the context where nobody said how long it may be.
ANSWER_TOKENS = 1_024
ANSWER_SHARE = 4
# Pictures of one request, as base64. Older ones are left out.
MAX_IMAGE_CHARS = 24 * 2**20


@dataclass(frozen=True, slots=True)
class Document:
    """A text that was attached."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    url: str
    """A data: URL."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the path, from root to leaf."""

    role: str
    content: str
    documents: tuple[Document, ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.content or self.documents or self.images)


@dataclass(frozen=True, slots=True)
class Reader:
    """What matters of the model that is asked."""

    context_length: int = 0
    """In tokens; 0: it is not known."""
    sees: bool = False


def estimate_tokens(text: str) -> int:
    """About how many tokens a document takes; rather too many than too few."""
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def request_body(
    model: str, history: Sequence[Said], setup: Setup = PLAIN, reader: Reader = Reader()
) -> dict[str, Any]:
    """The body of a chat completion that streams.

    Documents are shortened to the reader's context, the latest message's last; pictures
    go to those who see, and of what is left out the model is told.
    """
    said = _joined(history)
    room = _room(said, setup, reader)
    image_room = MAX_IMAGE_CHARS if reader.sees else 0
    messages: list[dict[str, Any]] = []
    for each in reversed(said):  # the latest first: it is what is asked about
        documents, room = _fitted(each.documents, room)
        images, image_room = _shown(each.images, image_room)
        messages.append(_message(each, documents, images))
    if setup.system_prompt:
        messages.append({"role": "system", "content": setup.system_prompt})
    parameters = setup.parameters.fields()
    return {"model": model, "messages": messages[::-1], "stream": True, **parameters}


def size_of(body: dict[str, Any]) -> int:
    """About how many bytes a body's messages hold in memory."""
    return sum(_size(message["content"]) for message in body["messages"])


def _size(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(
        len(part["text"] if part["type"] == "text" else part["image_url"]["url"])
        for part in content
    )


def _joined(history: Sequence[Said]) -> list[Said]:
    """Without what is empty, and with neighbours of one role made one.

    Answers that failed before their first word leave two prompts in a row, and many
    chat templates insist on alternating roles.
    """
    full = (said for said in history if not said.is_empty)
    return [
        _as_one(role, tuple(run)) for role, run in groupby(full, lambda said: said.role)
    ]


def _as_one(role: str, run: tuple[Said, ...]) -> Said:
    return Said(
        role,
        "\n\n".join(said.content for said in run if said.content),
        tuple(document for said in run for document in said.documents),
        tuple(image for said in run for image in said.images),
    )


def _room(said: Iterable[Said], setup: Setup, reader: Reader) -> int | None:
    """How many tokens of documents the reader has room for; None: as many as come."""
    if not reader.context_length:
        return None
    answer = setup.parameters.max_tokens or ANSWER_TOKENS
    answer = min(answer, reader.context_length // ANSWER_SHARE)
    texts = [setup.system_prompt, *(each.content for each in said)]
    taken = sum(map(estimate_tokens, texts))
    if reader.sees:
        taken += TOKENS_PER_IMAGE * sum(len(each.images) for each in said)
    return max(0, reader.context_length - answer - taken)


def _fitted(
    documents: Iterable[Document], room: int | None
) -> tuple[list[str], int | None]:
    """(the documents as text, each cut to the room that those before it left; what is
    left then)."""
    texts = []
    for document in documents:
        text, note = document.text, ""
        if room is not None:
            text = _cut(text, room)
            room -= min(room, estimate_tokens(text))
        if len(text) < len(document.text):
            note = (
                f"\n[The first {len(text):,} of {len(document.text):,} characters;"
                " the rest does not fit.]"
            )
        name = document.name.replace('"', "'")
        texts.append(f'<document name="{name}">\n{text}{note}\n</document>')
    return texts, room


def _cut(text: str, num_tokens: int) -> str:
    """The beginning of a text, of at most so many tokens by our estimate."""
    if estimate_tokens(text) <= num_tokens:
        return text
    kept = text.encode(errors="surrogatepass")[: num_tokens * BYTES_PER_TOKEN]
    return kept.decode(errors="ignore")  # half a character at the end


def _shown(images: Iterable[Image], room: int) -> tuple[list[Image | str], int]:
    """(the images, each of those without room as a note; the room that is left)."""
    shown: list[Image | str] = []
    for image in images:
        if len(image.url) <= room:
            room -= len(image.url)
            shown.append(image)
        else:
            shown.append(f"[The image {image.name} is not shown to you.]")
    return shown, room


def _message(
    said: Said, documents: Sequence[str], images: Sequence[Image | str]
) -> dict[str, Any]:
    """As text, which every chat template takes, unless a picture is to be seen."""
    notes = [image for image in images if isinstance(image, str)]
    text = "\n\n".join(filter(None, [*documents, *notes, said.content]))
    pictures = [
        {"type": "image_url", "image_url": {"url": image.url}}
        for image in images
        if isinstance(image, Image)
    ]
    if not pictures:
        return {"role": said.role, "content": text}
    words = [{"type": "text", "text": text}] if text else []
    return {"role": said.role, "content": [*pictures, *words]}
