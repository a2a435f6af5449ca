"""How a text is cut into the terms that search knows: the same for every database.

Chinese, Japanese, Korean and Thai put no spaces between words, so a run of such
characters becomes its pairs: 模型很好 is 模型, 型很, 很好 and 好. A query of two
characters is then one term, a longer one several, and a single character the beginning
of some. Other scripts are cut into words.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator

SHORTEST_BEGINNING = 3  # characters; the last word's may be shorter
LONGEST_TERM = 40  # characters of a word that count
# Of one message: PostgreSQL's limit for what is indexed of a row is a megabyte.
MAX_BYTES = 500_000
MAX_QUERY_TERMS = 40

# Characters of scripts without spaces: Thai to Khmer, kana, Han, Hangul, and Han beyond
# the first plane.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Combining marks belong to the word that they stand in.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff"
)
_RUN = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}_])[\w{_MARKS}])+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def terms_of(text: str) -> list[str]:
    """The distinct terms of a text in their order, at most `MAX_BYTES` of them."""
    taken, num_bytes = dict[str, None](), 0
    for term in _terms(folded(text)):
        if term not in taken:
            num_bytes += len(term.encode()) + 1
            if num_bytes > MAX_BYTES:
                break
            taken[term] = None
    return list(taken)


def query_terms(text: str) -> tuple[list[str], list[str]]:
    """(terms that a text must have, beginnings that terms of it must have) of a query.

    What is typed may go on, so its last word is a beginning; so is every word of some
    length, since signal is to find signals, and a lone character of a script without
    spaces. Both empty: nothing can be looked for.
    """
    runs = _RUN.findall(folded(text))[:MAX_QUERY_TERMS]
    whole: list[str] = []
    beginnings: list[str] = []
    for index, run in enumerate(runs):
        if not _IS_UNSPACED.match(run):
            is_last = index == len(runs) - 1 and not text[-1:].isspace()
            is_beginning = is_last or len(run) >= SHORTEST_BEGINNING
            (beginnings if is_beginning else whole).append(run[:LONGEST_TERM])
        elif len(run) == 1:
            beginnings.append(run)
        else:
            whole += [a + b for a, b in itertools.pairwise(run)]
    return list(dict.fromkeys(whole))[:MAX_QUERY_TERMS], list(dict.fromkeys(beginnings))


def folded(text: str) -> str:
    """Without differences of case and width; may be longer or shorter than it was."""
    return unicodedata.normalize("NFKC", text).casefold()


def _terms(text: str) -> Iterator[str]:
    for run in _RUN.findall(text):
        if _IS_UNSPACED.match(run):
            yield from map("".join, itertools.pairwise(run))
            yield run[-1]
        else:
            yield run[:LONGEST_TERM]
