"""Texts judged by classifiers: a moderation endpoint as OpenAI has it, or a model that
is served here.

What was judged is remembered for a while: a conversation comes whole with each turn,
and only what is new of it is asked about.
"""

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from cryptography.fernet import InvalidToken

from controller.errors import SwitchyardError
from controller.models.classifiers import Classifier

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 20_000
MAX_TEXT_CHARS = 8_000  # longer ones are judged in pieces
OVERLAP_CHARS = 200  # so that nothing is cut in two
MAX_TEXTS = 64  # of one question to an endpoint
MAX_NEW_TEXTS = 512  # of one request; the next one goes on behind them
MAX_ANSWER_BYTES = 2**20
MAX_AT_ONCE = 8  # questions to a model

Messages = list[dict[str, str]]
AskModel = Callable[[str, Messages], Awaitable[str]]
"""(a served model, what it is asked) to what it answers."""


class ClassifierFailed(Exception):
    """It gave no judgement; the text says why."""


class TooManyTexts(Exception):
    """A request has more than MAX_NEW_TEXTS that were not judged before. Those are
    judged now, so that it passes when it comes again, or a few times."""


@dataclass(frozen=True, slots=True)
class ClassifierView:
    """A classifier as it is asked."""

    id: int
    name: str
    kind: str
    url: str
    key: str | None = field(repr=False)
    """None: there is one, and none of FIELD_KEYS reads it."""
    model: str
    instructions: str
    threshold: float | None
    names: tuple[tuple[str, str], ...]
    timeout_seconds: float

    @classmethod
    def of(cls, row: Classifier) -> "ClassifierView":
        """One whose key cannot be read fails whenever it is asked, and its rules say
        what that means."""
        return cls(
            id=row.pk,
            name=row.name,
            kind=row.kind,
            url=row.url,
            key=_key_of(row),
            model=row.model,
            instructions=row.instructions,
            threshold=row.threshold,
            names=tuple(sorted(row.names.items())),
            timeout_seconds=row.timeout_seconds,
        )


def _key_of(row: Classifier) -> str | None:
    try:
        return row.key
    except InvalidToken:
        return None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a classifier says of a text: the categories that it is of, by our names, and
    the scores of all."""

    categories: frozenset[str] = frozenset()
    scores: tuple[tuple[str, float], ...] = ()
    is_flagged: bool = False

    def is_of(self, wanted: frozenset[str]) -> bool:
        """Whether it is of one of these categories; of any, for an empty set."""
        return bool(self.among(wanted)) if wanted else self.is_flagged

    def among(self, wanted: frozenset[str]) -> frozenset[str]:
        """Which of these categories it is of; all that it is of, for an empty set."""
        return self.categories & wanted if wanted else self.categories


class Judges:
    """Asks classifiers, and remembers what they said. Lives on one event loop."""

    def __init__(self, ask_model: AskModel) -> None:
        self._ask_model = ask_model
        self._remembered: OrderedDict[tuple[ClassifierView, bytes], Judgement] = (
            OrderedDict()
        )
        self._failing: set[str] = set()
        self._session: aiohttp.ClientSession | None = None

    async def judge(
        self, classifier: ClassifierView, texts: Sequence[str]
    ) -> list[Judgement]:
        """What it says of each text. Raises `ClassifierFailed` and `TooManyTexts`."""
        try:
            async with asyncio.timeout(classifier.timeout_seconds):
                judged = await self._judge(classifier, texts)
        except TimeoutError:
            seconds = f"{classifier.timeout_seconds:g}"
            raise self._failed(classifier, f"no answer in {seconds} s") from None
        except ClassifierFailed as exc:
            raise self._failed(classifier, str(exc)) from exc
        if classifier.name in self._failing:
            self._failing.discard(classifier.name)
            logger.warning("the classifier %s answers again", classifier.name)
        return judged

    def _failed(self, classifier: ClassifierView, reason: str) -> ClassifierFailed:
        if classifier.name not in self._failing:
            self._failing.add(classifier.name)
            logger.error("the classifier %s fails: %s", classifier.name, reason)
        return ClassifierFailed(f"The classifier {classifier.name} fails: {reason}.")

    async def _judge(
        self, classifier: ClassifierView, texts: Sequence[str]
    ) -> list[Judgement]:
        pieces = {text: _pieces(text) for text in texts}
        # Held here: other requests may push out of memory what is known of this one.
        known: dict[bytes, Judgement] = {}
        wanted: dict[bytes, str] = {}
        for piece in (each for of_text in pieces.values() for each in of_text):
            digest = _digest(piece)
            judgement = self._recall(classifier, digest)
            if judgement is None:
                wanted[digest] = piece
            else:
                known[digest] = judgement
        known |= await self._ask_all(classifier, wanted)
        return [
            together(known[digest] for digest in map(_digest, pieces[text]))
            for text in texts
        ]

    async def _ask_all(
        self, classifier: ClassifierView, wanted: dict[bytes, str]
    ) -> dict[bytes, Judgement]:
        """The judgements, each remembered as soon as it is there: what fails half-way
        goes on from there when it is tried again."""
        found: dict[bytes, Judgement] = {}
        asked = list(wanted.items())
        for begin in range(0, min(len(asked), MAX_NEW_TEXTS), MAX_TEXTS):
            batch = asked[begin : begin + MAX_TEXTS]
            judged = await self._ask(classifier, [piece for _, piece in batch])
            for (digest, _), judgement in zip(batch, judged, strict=True):
                self._remember(classifier, digest, judgement)
                found[digest] = judgement
        if len(found) < len(asked):
            raise TooManyTexts
        return found

    def _recall(self, classifier: ClassifierView, digest: bytes) -> Judgement | None:
        judgement = self._remembered.get((classifier, digest))
        if judgement is not None:
            self._remembered.move_to_end((classifier, digest))
        return judgement

    def _remember(
        self, classifier: ClassifierView, digest: bytes, judgement: Judgement
    ) -> None:
        self._remembered[classifier, digest] = judgement
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _ask(
        self, classifier: ClassifierView, texts: list[str]
    ) -> list[Judgement]:
        if classifier.key is None:
            raise ClassifierFailed("none of FIELD_KEYS reads its key: write it anew")
        if classifier.kind == Classifier.Kind.ENDPOINT:
            return await self._ask_endpoint(classifier, texts)
        at_once = asyncio.Semaphore(MAX_AT_ONCE)

        async def ask(text: str) -> Judgement:
            async with at_once:
                return await self._ask_served(classifier, text)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(text)) for text in texts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask_endpoint(
        self, classifier: ClassifierView, texts: list[str]
    ) -> list[Judgement]:
        """A redirect is a failure: it could lead anywhere."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        body: dict[str, Any] = {"input": texts}
        if classifier.model:
            body["model"] = classifier.model
        headers = {"content-type": "application/json"}
        if classifier.key:
            headers["authorization"] = f"Bearer {classifier.key}"
        try:
            async with self._session.post(
                classifier.url,
                data=msgspec.json.encode(body),
                headers=headers,
                allow_redirects=False,
            ) as answer:
                status, content = answer.status, await _read(answer)
        except aiohttp.ClientError as exc:
            raise ClassifierFailed(f"{type(exc).__name__}") from exc
        if status != 200:
            raise ClassifierFailed(f"it answered {status}")
        judged = judgements_in(classifier, content)
        if len(judged) != len(texts):
            raise ClassifierFailed("it judged another number of texts than it was sent")
        return judged

    async def _ask_served(self, classifier: ClassifierView, text: str) -> Judgement:
        messages = [{"role": "user", "content": text}]
        if classifier.instructions:
            told = {"role": "system", "content": classifier.instructions}
            messages = [told, {"role": "user", "content": f"<text>\n{text}\n</text>"}]
        try:
            answer = await self._ask_model(classifier.model, messages)
        except SwitchyardError as exc:
            raise ClassifierFailed(exc.message) from exc
        return judgement_of(classifier, answer)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Result(msgspec.Struct):
    flagged: bool = False
    categories: dict[str, bool | None] = {}  # msgspec copies it
    category_scores: dict[str, float | None] = {}


class _Answer(msgspec.Struct):
    results: list[_Result]


def judgements_in(classifier: ClassifierView, content: bytes) -> list[Judgement]:
    """What a moderation endpoint has answered. Raises `ClassifierFailed`."""
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except msgspec.MsgspecError as exc:
        raise ClassifierFailed(
            "its answer is not one of a moderation endpoint"
        ) from exc
    return [_judgement_of(classifier, result) for result in answer.results]


def _judgement_of(classifier: ClassifierView, result: _Result) -> Judgement:
    names, threshold = dict(classifier.names), classifier.threshold
    scores = {name: score or 0.0 for name, score in result.category_scores.items()}
    if threshold is None:
        found = {name for name, is_so in result.categories.items() if is_so}
        is_flagged = result.flagged or bool(found)
    else:
        found = {name for name, score in scores.items() if score >= threshold}
        is_flagged = bool(found)
    return Judgement(
        frozenset(names.get(name, name) for name in found),
        tuple((names.get(name, name), score) for name, score in scores.items()),
        is_flagged,
    )


# As Llama Guard says it, or with "Safety:" before as Qwen3Guard does.
_VERDICT = re.compile(r"\b(un)?safe\b", re.IGNORECASE)
_MAX_NAME_CHARS = 50


def judgement_of(classifier: ClassifierView, answer: str) -> Judgement:
    """What a model says: safe, or unsafe and the categories behind. Raises
    `ClassifierFailed` for an answer that is neither."""
    verdict = _VERDICT.search(answer)
    if verdict is None:
        raise ClassifierFailed("the model answered neither safe nor unsafe")
    if not verdict.group(1):
        return Judgement()
    names = dict(classifier.names)
    said = re.sub(r"(?i)\bcategor\w+\s*:", "", answer[verdict.end() :])
    found = [name.strip(" .:*_`") for name in re.split(r"[\n,;]", said)]
    categories = [
        names.get(name, name.lower())
        for name in found
        if 0 < len(name) <= _MAX_NAME_CHARS
    ]
    return Judgement(
        frozenset(categories), tuple((name, 1.0) for name in categories), True
    )


def _pieces(text: str) -> list[str]:
    return [
        text[begin : begin + MAX_TEXT_CHARS]
        for begin in range(0, len(text), MAX_TEXT_CHARS - OVERLAP_CHARS)
    ]


def together(judgements: Iterable[Judgement]) -> Judgement:
    """All of a text's judgements as one: the worst of each category."""
    given = list(judgements)
    scores: dict[str, float] = {}
    for each in given:
        for name, score in each.scores:
            scores[name] = max(score, scores.get(name, 0.0))
    return Judgement(
        frozenset().union(*(each.categories for each in given)),
        tuple(scores.items()),
        any(each.is_flagged for each in given),
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = b""
    async for chunk in answer.content.iter_chunked(65_536):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ClassifierFailed("its answer is too long")
    return content
