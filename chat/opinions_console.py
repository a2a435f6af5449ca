"""What operators see of readers' opinions: votes and ratings, counted, read only. No
texts of conversations."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from chat.models import Comparison, Message
from controller.admin.base import KeptRecordAdmin
from controller.admin.flags import READ_TEXT
from controller.models import User

Outcome = Comparison.Outcome
OUTCOMES = {
    Outcome.WINNER: _("one is the best"),
    Outcome.TIE: _("a tie"),
    Outcome.ALL_BAD: _("all are bad"),
    "": _("no vote yet"),
}
UP, DOWN = 1, -1
MAX_MODELS = 50  # in the table of counts


@dataclass(slots=True)
class Votes:
    """How often a model was compared, and what came of it."""

    model: str
    compared: int = 0
    won: int = 0
    lost: int = 0
    tied: int = 0
    bad: int = 0

    @property
    def cells(self) -> tuple[int, ...]:
        return self.compared, self.won, self.lost, self.tied, self.bad


@dataclass(slots=True)
class Ratings:
    """How often a model's answers were rated up and down."""

    model: str
    up: int = 0
    down: int = 0

    @property
    def cells(self) -> tuple[int, ...]:
        return self.up, self.down


Tally = TypeVar("Tally", Votes, Ratings)


def votes_of(comparisons: QuerySet[Comparison]) -> list[Votes]:
    """Of each model, the most compared first; one query, a row of it for each set of
    models and outcome."""
    counts: dict[str, Votes] = {}
    groups = comparisons.order_by().values("model_names", "outcome", "winner")
    for group in groups.annotate(num=Count("pk")):
        for place, model in enumerate(group["model_names"]):
            votes = counts.setdefault(model, Votes(model))
            _count(votes, group["outcome"], place == group["winner"], group["num"])
    return _most(counts.values(), lambda votes: votes.compared)


def _count(votes: Votes, outcome: str, is_winner: bool, num: int) -> None:
    votes.compared += num
    match outcome:
        case Outcome.WINNER if is_winner:
            votes.won += num
        case Outcome.WINNER:
            votes.lost += num
        case Outcome.TIE:
            votes.tied += num
        case Outcome.ALL_BAD:
            votes.bad += num


def ratings_of(answers: QuerySet[Message]) -> list[Ratings]:
    """Of each model, the most rated first; one query."""
    counts: dict[str, Ratings] = {}
    groups = answers.order_by().values("model", "rating")
    for group in groups.annotate(num=Count("pk")):
        ratings = counts.setdefault(group["model"], Ratings(group["model"]))
        if group["rating"] == UP:
            ratings.up += group["num"]
        else:
            ratings.down += group["num"]
    return _most(counts.values(), lambda ratings: ratings.up + ratings.down)


def _most(tallies: Iterable[Tally], size: Any) -> list[Tally]:
    return sorted(tallies, key=size, reverse=True)[:MAX_MODELS]


class OpinionAdmin(KeptRecordAdmin):
    """Readers alone write these rows."""

    list_before_template = "chat/console/opinions.html"
    actions = None
    sortable_by = ()
    headings: tuple[Any, ...]

    def tallies(self, rows: QuerySet[Any]) -> list[Any]:
        """The counts of these rows by model."""
        raise NotImplementedError

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, under the counts of what its filters leave."""
        answer: HttpResponse = super().changelist_view(request, extra_context)
        context = getattr(answer, "context_data", None)
        if context and "cl" in context:  # not a redirect for a wrong filter
            context["tallies"] = self.tallies(context["cl"].queryset)
            context["headings"] = self.headings
        return answer


class OutcomeFilter(admin.SimpleListFilter):
    title = _("vote")
    parameter_name = "vote"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(outcome or "none", words) for outcome, words in OUTCOMES.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Comparison]
    ) -> QuerySet[Comparison]:
        if self.value() == "none":
            return queryset.filter(outcome="")
        return queryset.filter(outcome=self.value()) if self.value() else queryset


@admin.register(Comparison)
class ComparisonAdmin(OpinionAdmin):
    list_display = ("created_at", "user", "models", "vote", "best", "voted_at")
    list_select_related = ("user",)
    list_filter = (OutcomeFilter, "created_at")
    ordering = ("-id",)
    search_fields = ("user__username", "model_names")
    search_help_text = _("User or model")
    fields = readonly_fields = (*list_display, "parameters")
    headings = (_("Compared"), _("Best"), _("Beaten"), _("Ties"), _("All bad"))

    def tallies(self, rows: QuerySet[Comparison]) -> list[Votes]:
        return votes_of(rows)

    @admin.display(description=_("models"))
    def models(self, comparison: Comparison) -> str:
        return str(comparison)

    @admin.display(description=_("vote"))
    def vote(self, comparison: Comparison) -> Any:
        return OUTCOMES[comparison.outcome]

    @admin.display(description=_("best"))
    def best(self, comparison: Comparison) -> str:
        if comparison.winner is None:
            return "-"
        return str(comparison.model_names[comparison.winner])


class RatingFilter(admin.SimpleListFilter):
    title = _("rating")
    parameter_name = "rated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("up", _("up")), ("down", _("down"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Message]
    ) -> QuerySet[Message]:
        rating = {"up": UP, "down": DOWN}.get(self.value() or "")
        return queryset.filter(rating=rating) if rating else queryset


@admin.register(Message)
class RatingAdmin(OpinionAdmin):
    """Of all messages those that were rated, and of those the rating alone."""

    list_display = ("rated_at", "reader", "model", "shown_rating", "rating_reason")
    list_select_related = ("conversation__user",)
    list_filter = (RatingFilter, "rated_at")
    ordering = ("-rated_at",)
    search_fields = ("conversation__user__username", "model")
    search_help_text = _("User or model")
    fields = readonly_fields = (*list_display, "request_id")
    headings = (_("Up"), _("Down"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Without the texts, which are not even read."""
        rows: QuerySet[Message] = super().get_queryset(request)
        rated = rows.filter(rating__isnull=False, deleted_at=None)
        return rated.defer("content", "reasoning", "attached")

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return self._shown_to(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return self._shown_to(request, self.fields)

    def tallies(self, rows: QuerySet[Message]) -> list[Ratings]:
        return ratings_of(rows)

    @admin.display(description=_("user"))
    def reader(self, message: Message) -> User:
        return message.conversation.user

    @display(  # type: ignore[untyped-decorator]
        description=_("rating"), label={"up": "success", "down": "danger"}
    )
    def shown_rating(self, message: Message) -> tuple[str, Any]:
        return ("up", _("up")) if message.rating == UP else ("down", _("down"))

    def _shown_to(self, request: HttpRequest, names: Iterable[str]) -> list[str]:
        """Without reasons for those who may not read what people write."""
        return list(_without_reasons(names, request.user.has_perm(READ_TEXT)))


def _without_reasons(names: Iterable[str], may_read: bool) -> Iterator[str]:
    return (name for name in names if may_read or name != "rating_reason")
