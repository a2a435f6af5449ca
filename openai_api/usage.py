"""Usage and costs as OpenAI's administrators read them.

https://platform.openai.com/docs/api-reference/usage. A key sees its owner's requests,
one with the scope `fleet` everybody's. Teams are OpenAI's projects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar

from channels.db import database_sync_to_async
from django.conf import settings
from django.db.models import Q
from django.http import HttpResponse, QueryDict

from controller.errors import InvalidRequest, PermissionRefused
from controller.identity.caller import Caller
from controller.lean import LeanAPIView, LeanRequest
from controller.ledger.rollups import hours_kept_since, rows_kept_since
from controller.ledger.usage import Groups, Tally, UsageReader
from controller.models import ApiKey, LedgerEntry
from controller.models.usage import DAY, HOUR, day_of, hour_of
from openai_api.authentication import identify
from openai_api.responses import json_response

# What OpenAI groups by and this site knows nothing of.
MEANINGLESS = {"service_tier", "size", "source"}
LATEST = 4_102_444_800  # the year 2100: what a clock may say
COLUMNS = {
    "project_id": "team_id",
    "user_id": "user_id",
    "api_key_id": "key_id",
    "model": "model",
    "batch": "face",
    "line_item": "model",
}
FILTERS = {
    "project_ids": "team_id",
    "user_ids": "user_id",
    "api_key_ids": "key_id",
    "models": "model",
}
PARAMETERS = {
    *("start_time", "end_time", "bucket_width", "group_by", "batch", "limit", "page"),
    *FILTERS,
}
MAX_LISTED = 100
PAGE = "page_"


MINUTE = timedelta(minutes=1)


def minute_of(moment: datetime) -> datetime:
    """When its minute began."""
    return moment.replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Width:
    """A width of buckets: how many a page has, unless asked for and at most."""

    step: timedelta
    floor: Callable[[datetime], datetime]
    default_limit: int
    max_limit: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page of buckets is about: the period begins and ends with a bucket."""

    width: Width
    since: datetime
    until: datetime
    end: datetime
    """Where the last page ends."""
    group_by: tuple[str, ...]
    only: Q


class BucketsView(LeanAPIView):
    """A page of buckets of time, each with a result for each group."""

    endpoint: ClassVar[str]
    widths: ClassVar[dict[str, Width]]
    groups: ClassVar[tuple[str, ...]]

    async def admit(self, request: LeanRequest) -> None:
        request.caller = await identify(request, self.endpoint)
        if request.caller.user_id is None:
            raise PermissionRefused("A guest has no usage: send an API key.")

    async def get(self, request: LeanRequest) -> HttpResponse:
        wanted = self._wanted(request.GET, request.caller)
        tallies = await database_sync_to_async(_read)(wanted)
        is_more = wanted.until < wanted.end
        return json_response(
            {
                "object": "page",
                "data": self._buckets(wanted, tallies),
                "has_more": is_more,
                "next_page": f"{PAGE}{int(wanted.until.timestamp())}"
                if is_more
                else None,
            }
        )

    def result(self, tally: Tally, group: dict[str, Any]) -> dict[str, Any]:
        """The tally in the words of this endpoint; `group` are its groups' values."""
        raise NotImplementedError

    def _buckets(self, wanted: Wanted, tallies: Groups) -> list[dict[str, Any]]:
        step = wanted.width.step
        found = {
            start: [self._result(wanted, kind, tallies[kind]) for kind in kinds]
            for start, kinds in groupby(
                sorted(tallies, key=_order), lambda kind: kind[0]
            )
        }
        starts = range((wanted.until - wanted.since) // step)
        return [
            {
                "object": "bucket",
                "start_time": int(start.timestamp()),
                "end_time": int((start + step).timestamp()),
                "results": found.get(start, []),
            }
            for start in (wanted.since + number * step for number in starts)
        ]

    def _result(
        self, wanted: Wanted, kind: tuple[Any, ...], tally: Tally
    ) -> dict[str, Any]:
        values = (
            value if value is None or isinstance(value, bool) else str(value)
            for value in kind[1:]
        )
        group = dict.fromkeys(self.groups) | dict(
            zip(wanted.group_by, values, strict=True)
        )
        return self.result(tally, group)

    def _wanted(self, query: QueryDict, caller: Caller) -> Wanted:
        _check_names(query)
        width = self._width(query)
        limit = _number(query, "limit", width.default_limit, 1, width.max_limit)
        asked = _number(query, "start_time", None, 0, LATEST)
        page = _page(query)
        since = width.floor(_moment(page if page is not None else asked))
        now = int(datetime.now(UTC).timestamp())
        end_time = _moment(_number(query, "end_time", now, 0, LATEST))
        end = _ceiling(end_time, width)
        if end <= since:
            raise InvalidRequest("end_time is not after start_time.", param="end_time")
        until = min(end, since + limit * width.step)
        group_by = self._group_by(query)
        _check_kept(width, since)
        return Wanted(width, since, until, end, group_by, _only(query, caller))

    def _width(self, query: QueryDict) -> Width:
        name = query.get("bucket_width", "1d")
        if name not in self.widths:
            raise InvalidRequest(
                f"bucket_width is {name[:100]!r}: it may be {_listed(self.widths)}.",
                param="bucket_width",
            )
        return self.widths[name]

    def _group_by(self, query: QueryDict) -> tuple[str, ...]:
        asked = tuple(dict.fromkeys(_listing(query, "group_by")))
        for name in asked:
            if name in MEANINGLESS:
                raise InvalidRequest(
                    f"group_by has {name!r}, which requests do not have here: it may"
                    f" have {_listed(self.groups)}.",
                    param="group_by",
                )
            if name not in self.groups:
                raise InvalidRequest(
                    f"group_by has {name[:100]!r}: it may have {_listed(self.groups)}.",
                    param="group_by",
                )
        return asked


class CompletionsUsage(BucketsView):
    """Requests and tokens of all calls to models, embeddings too."""

    endpoint = "/v1/organization/usage/completions"
    widths: ClassVar = {
        "1m": Width(MINUTE, minute_of, 60, 1440),
        "1h": Width(HOUR, hour_of, 24, 168),
        "1d": Width(DAY, day_of, 7, 31),
    }
    groups = ("project_id", "user_id", "api_key_id", "model", "batch")

    def result(self, tally: Tally, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "object": "organization.usage.completions.result",
            "input_tokens": tally.prompt_tokens,
            "input_cached_tokens": tally.cached_tokens,
            "output_tokens": tally.completion_tokens,
            "input_audio_tokens": 0,
            "output_audio_tokens": 0,
            "num_model_requests": tally.num_requests,
            **group,
        }


class Costs(BucketsView):
    """What the requests cost by the prices of their moment. A line item is a model."""

    endpoint = "/v1/organization/costs"
    widths: ClassVar = {"1d": Width(DAY, day_of, 7, 180)}
    groups = ("project_id", "api_key_id", "line_item")

    def result(self, tally: Tally, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "object": "organization.costs.result",
            "amount": {"value": tally.cost, "currency": settings.CURRENCY.lower()},
            **group,
        }


def _read(wanted: Wanted) -> Groups:
    """Five queries at most, however long the ledger is."""
    reader = UsageReader(wanted.since, wanted.until, wanted.only)
    read = {DAY: reader.by_day, HOUR: reader.by_hour, MINUTE: reader.by_minute}
    tallies = read[wanted.width.step](*(COLUMNS[name] for name in wanted.group_by))
    if "batch" not in wanted.group_by:
        return tallies
    return _told_apart(tallies, 1 + wanted.group_by.index("batch"))


def _told_apart(tallies: Groups, at: int) -> Groups:
    """With whether it was a batch in the place of the face that a request came by."""
    found: Groups = {}
    for kind, tally in tallies.items():
        is_batch = kind[at] == LedgerEntry.Face.BATCH
        merged = (*kind[:at], is_batch, *kind[at + 1 :])
        found.setdefault(merged, Tally())
        found[merged] += tally
    return found


def _order(kind: tuple[Any, ...]) -> tuple[Any, ...]:
    """By time; of values that may be missing, those come last."""
    return kind[0], *((value is None, value or 0) for value in kind[1:])


def _check_kept(width: Width, since: datetime) -> None:
    """Raise `InvalidRequest` for what is deleted: zeros would be untrue."""
    if width.step == MINUTE and since < rows_kept_since():
        raise InvalidRequest(
            "Minutes are added up from the requests themselves, which are kept for"
            f" {settings.LEDGER_RETENTION_DAYS} days: ask for 1h or 1d of the time"
            " before.",
            param="start_time",
        )
    if width.step == HOUR and since < hours_kept_since():
        raise InvalidRequest(
            "Sums by hour are kept from"
            f" {hours_kept_since():%Y-%m-%d} on: ask for 1d of the time before.",
            param="start_time",
        )


def _only(query: QueryDict, caller: Caller) -> Q:
    """Which requests the caller may see, and asks for."""
    sees_all = ApiKey.Scope.FLEET in caller.scopes
    only = Q() if sees_all else Q(user_id=caller.user_id)
    for name, column in FILTERS.items():
        if values := _listing(query, name):
            only &= Q(**{f"{column}__in": _checked(name, values)})
    batch = query.get("batch")
    if batch is None:
        return only
    if batch not in ("true", "false"):
        raise InvalidRequest(
            f"batch is {batch[:100]!r}: it may be true or false.", param="batch"
        )
    of_batches = Q(face=LedgerEntry.Face.BATCH)
    return only & (of_batches if batch == "true" else ~of_batches)


def _checked(name: str, values: list[str]) -> list[str]:
    if len(values) > MAX_LISTED:
        raise InvalidRequest(f"{name} has more than {MAX_LISTED}.", param=name)
    for value in values:
        is_id = value.isascii() and value.isdigit() and len(value) < 19
        if name != "models" and not is_id:
            raise InvalidRequest(
                f"{name} has {value[:100]!r}, which is no id.", param=name
            )
    return values


def _check_names(query: QueryDict) -> None:
    for name in query:
        if name.removesuffix("[]") not in PARAMETERS:
            raise InvalidRequest(
                f"Unknown parameter: {name[:100]!r}.",
                param=name[:100],
                code="unknown_parameter",
            )


def _listing(query: QueryDict, name: str) -> list[str]:
    """Each value, whether it is repeated, as `name[]` too, or written with commas."""
    given = [*query.getlist(name), *query.getlist(f"{name}[]")]
    if name != "models":  # whose names may hold commas
        given = [part for text in given for part in text.split(",")]
    return [text for text in given if text]


def _number(
    query: QueryDict, name: str, default: int | None, lowest: int, highest: int
) -> int:
    text = query.get(name, "" if default is None else str(default))
    if not text:
        raise InvalidRequest(
            f"Missing required parameter: '{name}'.",
            param=name,
            code="missing_required_parameter",
        )
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest(f"{name} is {text[:100]!r}: no number.", param=name)
    if not lowest <= int(text) <= highest:
        raise InvalidRequest(
            f"{name} is {text}: it may be {lowest} to {highest}.", param=name
        )
    return int(text)


def _page(query: QueryDict) -> int | None:
    """Where the page begins; None for the first one."""
    page = query.get("page")
    if not page:
        return None
    text = page.removeprefix(PAGE)
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    if not is_number or int(text) > LATEST:
        raise InvalidRequest(
            f"page is {page[:100]!r}: send what next_page of the page before said.",
            param="page",
        )
    return int(text)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _ceiling(moment: datetime, width: Width) -> datetime:
    floor = width.floor(moment)
    return floor if floor == moment else floor + width.step


def _listed(names: Any) -> str:
    return ", ".join(names)
