"""The test bench: a text, or recent chats, against all rules that would hold."""

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from controller.errors import ContentBlocked, ModerationUnavailable
from controller.gateway import gateway, is_running
from controller.models import LedgerEntry, ServedModel, Team
from controller.moderation.bench import (
    UNAVAILABLE,
    Decision,
    Situation,
    decide,
    decide_with_classifiers,
    dry_run_of_all,
)
from controller.moderation.matching import BLOCK
from controller.moderation.rules import INPUT, OUTPUT, RuleBook, read_rules
from controller.moderation.trials import LAST_DAYS

MAX_CHARS = 20_000
# Those that requests come through.
FACES = (
    (LedgerEntry.Face.API.value, _("API")),
    (LedgerEntry.Face.CHAT.value, _("Chat")),
    (LedgerEntry.Face.BATCH.value, _("Batch")),
)
DIRECTIONS = ((INPUT, _("a prompt")), (OUTPUT, _("an answer")))


class BenchForm(forms.Form):
    text = forms.CharField(
        label=_("Text"),
        max_length=MAX_CHARS,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
    )
    direction = forms.ChoiceField(
        label=_("It is"), choices=DIRECTIONS, widget=UnfoldAdminSelectWidget
    )
    face = forms.ChoiceField(
        label=_("It comes by"),
        choices=FACES,
        initial=LedgerEntry.Face.CHAT,
        widget=UnfoldAdminSelectWidget,
    )
    model = forms.ChoiceField(
        label=_("Model"), required=False, widget=UnfoldAdminSelectWidget
    )
    teams = forms.TypedMultipleChoiceField(
        label=_("Teams of who writes"),
        required=False,
        coerce=int,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=_("Of the key, by the API; in the chat all that the user is in."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = ServedModel.objects.order_by("name").values_list("name", "name")
        self._offer("model", [("", _("one that no rule names")), *names])
        self._offer("teams", list(Team.objects.values_list("pk", "name")))

    def _offer(self, name: str, choices: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    @property
    def situation(self) -> Situation:
        chosen = self.cleaned_data
        teams = frozenset(chosen["teams"])
        return Situation(chosen["direction"], chosen["face"], chosen["model"], teams)


def tried(form: BenchForm) -> dict[str, Any]:
    """What the page shows of the text in a valid form."""
    book, situation = RuleBook(read_rules()), form.situation
    decision = _decision(book, situation, form.cleaned_data["text"])
    asked = situation.face, situation.model, situation.teams
    return {
        "decision": decision,
        "told": _told(decision),
        "is_prompt": situation.direction == INPUT,
        "num_unasked": len(book.judged_for(*asked)) if not is_running() else 0,
    }


def _decision(book: RuleBook, situation: Situation, text: str) -> Decision:
    if is_running():
        judges = gateway().moderator.judges
        return async_to_sync(decide_with_classifiers)(book, situation, text, judges)
    asked = situation.face, situation.model, situation.teams
    sets = book.sets_for(situation.direction, *asked)
    return decide(sets, situation.direction, text)


def _told(decision: Decision) -> str:
    """What whoever wrote a refused prompt reads; empty where it is not refused."""
    if decision.outcome == UNAVAILABLE:
        return ModerationUnavailable().message
    if decision.outcome == BLOCK and decision.winner is not None:
        return ContentBlocked(decision.winner.category).message
    return ""


def run_over_chats() -> dict[str, Any]:
    return {"dry_run": dry_run_of_all(read_rules()), "trial_days": LAST_DAYS}
