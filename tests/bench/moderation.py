"""What moderation costs a prompt and a streamed event, with many rules.

Run it with `python -m tests.bench.moderation`. Rules and texts are made up, the same in
each run. Microseconds of this thread's CPU, medians and 99th percentiles.
"""

import os
import random
import string
import time
from collections.abc import Callable, Iterator

import django
import msgspec

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from controller.identity.caller import chat_caller
from controller.moderation.flags import FlagQueue
from controller.moderation.input import moderate_input
from controller.moderation.matching import Rule
from controller.moderation.output import OutputScreen
from controller.moderation.rules import RuleBook, Scope, ScopedRule
from controller.moderation.watch import Watch

NUM_TERMS = 10_000
NUM_PATTERNS = 500
NUM_BYTES = 4096
NUM_ROUNDS = 500
_random = random.Random(8)


def word(low: int, high: int) -> str:
    return "".join(
        _random.choices(string.ascii_lowercase, k=_random.randint(low, high))
    )


def han(low: int, high: int) -> str:
    return "".join(
        chr(_random.randint(0x4E00, 0x9FA5)) for _ in range(_random.randint(low, high))
    )


def terms() -> list[str]:
    """Words, pairs of words, and a tenth in Chinese."""
    english = {
        f"{word(5, 9)} {word(4, 8)}" if n % 3 == 0 else word(6, 12)
        for n in range(NUM_TERMS * 9 // 10)
    }
    chinese = {han(3, 6) for _ in range(NUM_TERMS - len(english))}
    return sorted(english | chinese)


def patterns() -> Iterator[str]:
    """Of the kinds that operators write: numbers, keys, addresses, phrases."""
    kinds = (
        lambda: rf"\b{word(3, 5)}[- ]?\d{{3,6}}\b",
        lambda: rf"{word(3, 4)}\d{{2}}-\d{{2}}-\d{{4}}",
        lambda: rf"(?:{word(5, 6)}|{word(6, 7)})\s{{1,3}}{word(4, 5)}",
        lambda: rf"{word(4, 6)}@[a-z0-9.-]{{1,40}}\.(?:com|org)",
        lambda: rf"\b{word(3, 3)}_[a-z0-9]{{8,20}}\b",
    )
    for number in range(NUM_PATTERNS):
        yield kinds[number % len(kinds)]()


def rule_book(found: list[str]) -> RuleBook:
    rules = [
        Rule(1, "terms", "c", "redact", 100, terms=tuple(found)),
        *(
            Rule(number, f"pattern {number}", "c", "redact", 100, pattern=pattern)
            for number, pattern in enumerate(patterns(), start=2)
        ),
    ]
    return RuleBook(ScopedRule(rule, "both", Scope()) for rule in rules)


def english() -> str:
    text = ""
    while len(text) < NUM_BYTES:
        text += word(2, 9) + _random.choice((" ", " ", ". ", " 12 ", ", "))
    return text[:NUM_BYTES]


def chinese() -> str:
    return han(NUM_BYTES // 3, NUM_BYTES // 3)


def watch(book: RuleBook, direction: str) -> Watch:
    sets = book.sets_for(direction, "chat", "m", frozenset())
    return Watch(sets, direction, chat_caller(1), "m", "r", FlagQueue())


def microseconds(job: Callable[[str], object], texts: list[str]) -> tuple[float, float]:
    """(median, 99th percentile) over the texts, each of which is new to the job."""
    taken = []
    for text in texts:
        begun_at = time.thread_time()
        job(text)
        taken.append((time.thread_time() - begun_at) * 1e6)
    taken.sort()
    return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]


class Uncut:
    shows_usage = False

    def cut(self, finish_reason: str) -> object:
        raise AssertionError("nothing is blocked here")


def streamed(book: RuleBook) -> tuple[float, float]:
    """Of an event with a word, its decoding and encoding included."""
    screen = OutputScreen(watch(book, "output"), Uncut())  # type: ignore[arg-type]
    words = [f"{word(2, 9)} " for _ in range(NUM_ROUNDS)]
    events = iter(
        [
            b"data: "
            + msgspec.json.encode(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": "m",
                    "choices": [
                        {"index": 0, "delta": {"content": each}, "finish_reason": None}
                    ],
                }
            )
            + b"\n\n"
            for each in words
        ]
    )

    async def next_block() -> bytes:
        return next(events, b"")

    def read_one(_word: str) -> None:
        try:
            screen.read(next_block).send(None)
        except StopIteration:
            return

    return microseconds(read_one, words[:200])


def with_terms(text: str, found: list[str]) -> str:
    """The text with ten of the terms in it."""
    words = text.split(" ")
    for term in _random.sample(found, 10):
        words.insert(_random.randrange(len(words)), term)
    return " ".join(words)[:NUM_BYTES]


def main() -> None:
    found = terms()
    begun_at = time.perf_counter()
    book = rule_book(found)
    taken = time.perf_counter() - begun_at
    print(f"{NUM_TERMS} terms, {NUM_PATTERNS} patterns, compiled twice: {taken:.2f} s")

    def moderate(text: str) -> None:
        body = {"messages": [{"role": "user", "content": text}]}
        moderate_input(body, watch(book, "input"))

    prompts = {
        "English": [english() for _ in range(NUM_ROUNDS)],
        "Chinese": [chinese() for _ in range(NUM_ROUNDS)],
        "English with ten": [with_terms(english(), found) for _ in range(NUM_ROUNDS)],
    }
    for name, texts in prompts.items():
        median, highest = microseconds(moderate, texts)
        print(f"{name}, {NUM_BYTES} bytes: {median:.0f} µs, p99 {highest:.0f} µs")
    median, highest = streamed(book)
    print(f"one streamed event: {median:.0f} µs, p99 {highest:.0f} µs")


if __name__ == "__main__":
    main()
