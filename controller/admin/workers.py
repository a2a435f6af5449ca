"""Workers: how they fare, and what operators decide about them."""

from collections.abc import Callable, Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.timezone import now
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from controller.admin.base import ConsoleAdmin
from controller.admin.confirming import confirmed
from controller.admin.labels import clean_labels
from controller.durations import rough
from controller.fleet.decisions import DECISIONS, decide
from controller.fleet.worker_states import COLOURS, ShownState, with_shown_state
from controller.models import Placement, Worker, WorkerBreaker
from controller.models.fleet import WorkerQuerySet

BREAKER_COLOURS = {"open": "danger", "half-open": "warning"}
BREAKER_WORDS = {
    "open": pgettext_lazy("breaker", "open"),
    "half-open": _("half-open"),
}
SHOWN_MODELS = 3  # names in a list's cell; more are counted


# What the system writes: shown, by lines, never edited.
LOAD_FIELDS = (
    ("state_in_words", "heartbeat"),
    ("running", "waiting", "max_concurrency"),
    ("kv_cache", "kv_cache_size", "prefix_cache_hits"),
    ("prompt_tokens", "generation_tokens"),
    ("restarts", "loading"),
    ("breakers",),
)
ENGINE_FIELDS = (
    ("address", "resolved_ip"),
    ("engine_shown", "start_id"),
    ("keyless", "is_exclusive", "can_continue"),
    ("join_token", "joined_at"),
    ("expired_at", "left_at"),
)


class StateFilter(admin.SimpleListFilter):
    """By computed state; unless asked for, workers that left are not shown."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(ShownState.choices)

    def choices(self, changelist: Any) -> Iterator[Any]:
        every, *states = super().choices(changelist)
        yield {**every, "display": _("Registered")}
        yield from states

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if state := self.value():
            return queryset.filter(shown_state=state)
        return queryset.filter(left_at=None)


class WorkerForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Worker
        fields = ("is_enabled", "drain_wished", "weight", "labels")
        widgets = {"labels": UnfoldAdminTextareaWidget(attrs={"rows": 3})}

    def clean_weight(self) -> float:
        weight: float = self.cleaned_data["weight"]
        if weight <= 0:
            raise forms.ValidationError(
                _("More than 0, please; to send nothing, disable the worker.")
            )
        return weight

    def clean_labels(self) -> dict[str, str]:
        return clean_labels(self.cleaned_data["labels"])


class PlacementInline(TabularInline):  # type: ignore[misc]  # no types
    model = Placement
    verbose_name_plural = _("models on this worker")
    fields = readonly_fields = (
        "served_model",
        "tasks_shown",
        "modalities_shown",
        "context_length",
        "parent",
        "upstream_model",
    )
    hide_title = True
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Placement]:
        found: QuerySet[Placement] = super().get_queryset(request)
        return found.select_related("served_model", "worker")

    @admin.display(description=_("tasks"))
    def tasks_shown(self, placement: Placement) -> str:
        return ", ".join(placement.tasks) or "-"

    @admin.display(description=_("modalities"))
    def modalities_shown(self, placement: Placement) -> str:
        return ", ".join(placement.modalities) or "-"


def number(field: str, description: Any) -> Callable[[Any, Worker], str]:
    """A read-only field that shows a count as people read it; "-" for none."""

    @admin.display(description=description, ordering=field)
    def shown(self: Any, worker: Worker) -> str:
        value: int | None = getattr(worker, field)
        return "-" if value is None else f"{value:,}"

    return shown


def _in_words(worker: Any) -> str:
    """The worker's state; of a loading engine how much it has loaded: loading, 43%."""
    state, progress = ShownState(worker.shown_state), worker.loading_progress
    if state == ShownState.LOADING and progress is not None:
        return f"{state.label}, {progress:.0%}"
    return str(state.label)


def _breaker_in_words(row: WorkerBreaker) -> str:
    words = _("%(process)s: %(state)s for %(time)s: %(reason)s") % {
        "process": row.process,
        "state": BREAKER_WORDS.get(row.state, row.state),
        "time": rough(now() - row.since),
        "reason": row.reason,
    }
    return str(words)


@admin.register(Worker)
class WorkerAdmin(ConsoleAdmin):
    form = WorkerForm
    inlines = (PlacementInline,)
    list_display = (
        "address",
        "models",
        "shown_state",
        "breaker",
        "running",
        "waiting",
        "kv_cache",
        "heartbeat",
        "engine_shown",
        "weight",
        "keyless",
    )
    list_filter = (StateFilter, "served_models", "engine")
    search_fields = ("address", "served_models__name", "engine")
    search_help_text = _("Address, model or engine")
    ordering = ("address",)
    actions = ("drain", "resume", "stop", "rotate_key", "enable", "disable", "remove")
    actions_list = ("add_worker",)
    fieldsets = (
        (
            _("What you decide"),
            {"fields": ("is_enabled", "drain_wished", "weight", "labels")},
        ),
        (
            _("How it fares"),
            {"fields": LOAD_FIELDS},
        ),
        (
            _("What it is"),
            {"fields": ENGINE_FIELDS},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        workers: QuerySet[Worker] = super().get_queryset(request)
        return with_shown_state(workers).prefetch_related(
            "placements__served_model",
            Prefetch("breakers", WorkerBreaker.objects.current()),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for line in (*LOAD_FIELDS, *ENGINE_FIELDS) for name in line]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a worker adds itself, with a join token

    def has_invite_permission(self, request: HttpRequest) -> bool:
        """Who may issue the token that a worker adds itself with."""
        return request.user.has_perm("controller.add_jointoken")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the ledger speaks of it; `remove` takes it out of the fleet

    def save_model(
        self, request: HttpRequest, obj: Worker, form: "ModelForm[Any]", change: bool
    ) -> None:
        """Write what was changed and nothing else: heartbeats go on meanwhile."""
        changed = {name: form.cleaned_data[name] for name in form.changed_data}
        Worker.objects.filter(pk=obj.pk).change(**changed)

    @admin.display(description=_("models"))
    def models(self, worker: Worker) -> str:
        names = sorted(row.served_model.name for row in worker.placements.all())
        shown = ", ".join(names[:SHOWN_MODELS])
        num_more = len(names) - SHOWN_MODELS
        return f"{shown} +{num_more}" if num_more > 0 else shown or "-"

    @display(description=_("state"), ordering="shown_state", label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, worker: Any) -> tuple[str, str]:
        return worker.shown_state, _in_words(worker)

    @admin.display(description=_("state"))
    def state_in_words(self, worker: Any) -> str:
        return _in_words(worker)

    @display(description=_("breaker"), label=BREAKER_COLOURS)  # type: ignore[untyped-decorator]
    def breaker(self, worker: Worker) -> tuple[str, str]:
        """The worst that a web process holds against it, and how many do."""
        states = [row.state for row in worker.breakers.all()]
        if not states:
            return "", "-"
        worst = "open" if "open" in states else states[0]
        words = str(BREAKER_WORDS.get(worst, worst))
        return worst, f"{words} ({len(states)})" if len(states) > 1 else words

    @admin.display(description=_("breakers, by web process"))
    def breakers(self, worker: Worker) -> str:
        rows = worker.breakers.all()
        lines = ((_breaker_in_words(row),) for row in rows)
        return format_html_join("", "<p>{}</p>", lines) or str(_("closed everywhere"))

    @admin.display(description=_("KV cache"), ordering="kv_cache_usage")
    def kv_cache(self, worker: Worker) -> str:
        usage = worker.kv_cache_usage
        return "-" if usage is None else f"{usage:.0%}"

    @admin.display(description=_("last heartbeat"), ordering="last_heartbeat_at")
    def heartbeat(self, worker: Worker) -> str:
        return str(_("%s ago") % rough(worker.silence))

    @admin.display(description=_("engine"), ordering="engine")
    def engine_shown(self, worker: Worker) -> str:
        return f"{worker.engine} {worker.engine_version}".strip()

    @display(
        description=_("keyless"), ordering="is_keyless", label={_("keyless"): "warning"}
    )  # type: ignore[untyped-decorator]
    def keyless(self, worker: Worker) -> str:
        return str(_("keyless")) if worker.is_keyless else ""

    @admin.display(description=_("prefix-cache hits"))
    def prefix_cache_hits(self, worker: Worker) -> str:
        queries, hits = (
            worker.prefix_cache_queries_total,
            worker.prefix_cache_hits_total,
        )
        return f"{(hits or 0) / queries:.0%}" if queries else "-"

    kv_cache_size = number("kv_cache_tokens", _("KV cache, in tokens"))
    prompt_tokens = number("prompt_tokens_total", _("prompt tokens since its start"))
    generation_tokens = number(
        "generation_tokens_total", _("generated tokens since its start")
    )
    restarts = number("num_restarts", _("restarts of the engine"))

    @admin.display(description=_("loading"))
    def loading(self, worker: Worker) -> str:
        progress = worker.loading_progress
        return "-" if progress is None else f"{progress:.0%}"

    @admin.action(description=_("Drain (finish, take no more)"), permissions=["change"])
    def drain(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "drain", workers)

    @admin.action(description=_("Resume (end the drain)"), permissions=["change"])
    def resume(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "resume", workers)

    @admin.action(
        description=_("Stop (drain, then end the process)"), permissions=["change"]
    )
    @confirmed(
        _(
            "They finish what they have and end. Somebody has to start them again on"
            " their machines."
        )
    )
    def stop(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "stop", workers)

    @admin.action(
        description=_("Change the engine's key (nothing is interrupted)"),
        permissions=["change"],
    )
    def rotate_key(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "rotate_key", workers)

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "enable", workers)

    @admin.action(
        description=_("Disable (send nothing, keep registered)"),
        permissions=["change"],
    )
    def disable(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "disable", workers)

    @admin.action(
        description=_("Remove (it needs a join token to come back)"),
        permissions=["change"],
    )
    @confirmed(
        _(
            "What they have under way goes on, and nothing more is sent to them. They"
            " need a new join token to come back."
        )
    )
    def remove(self, request: HttpRequest, workers: WorkerQuerySet) -> None:
        self._decide(request, "remove", workers)

    @action(  # type: ignore[untyped-decorator]
        description=_("Add a worker"),
        icon="add_link",
        permissions=["invite"],
    )
    def add_worker(self, request: HttpRequest) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("fleet_add"))

    def _decide(self, request: HttpRequest, name: str, workers: WorkerQuerySet) -> None:
        assert request.user.pk is not None
        num_changed = decide(name, workers, request.user.pk)
        words = ngettext("%d worker: %s", "%d workers: %s", num_changed)
        self.message_user(
            request, words % (num_changed, gettext(DECISIONS[name].words))
        )
