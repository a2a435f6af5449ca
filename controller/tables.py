"""Tables as files: CSV or JSON lines, sent as they are read."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec
from django.http import StreamingHttpResponse

# What a spreadsheet would take for a formula; many of these texts are people's own.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = Sequence[Any]


def table_response(
    name: str, columns: Sequence[str], batches: AsyncIterator[list[Row]], kind: str
) -> StreamingHttpResponse:
    """The rows of all batches as the download `name`; `kind` is one of `KINDS`.

    Of a table without rows there is one empty batch.
    """
    content_type, lines_of = KINDS[kind]

    async def blocks() -> AsyncIterator[bytes]:
        is_first = True
        async for rows in batches:
            yield lines_of(columns, rows, is_first)
            is_first = False

    response = StreamingHttpResponse(blocks(), content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    response["Cache-Control"] = "no-store"
    return response


def _csv(columns: Sequence[str], rows: Iterable[Row], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(columns)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    """The value in one cell, without anything that a spreadsheet would run."""
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula else value


def _json_lines(columns: Sequence[str], rows: Iterable[Row], _is_first: bool) -> bytes:
    objects = (dict(zip(columns, row, strict=True)) for row in rows)
    return b"".join(msgspec.json.encode(each) + b"\n" for each in objects)


KINDS: dict[str, tuple[str, Callable[[Sequence[str], list[Row], bool], bytes]]] = {
    "csv": ("text/csv; charset=utf-8", _csv),
    "jsonl": ("application/jsonl; charset=utf-8", _json_lines),
}
