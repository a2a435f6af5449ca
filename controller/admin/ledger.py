"""The ledger, to be read."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from controller.admin.base import KeptRecordAdmin
from controller.models import LedgerEntry, ServedModel


class ModelFilter(admin.SimpleListFilter):
    """The names come from the served models: asking the ledger would read all of it."""

    title = _("model")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        names = ServedModel.objects.values_list("name", flat=True)
        return [(name, name) for name in names]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LedgerEntry]
    ) -> QuerySet[LedgerEntry]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("done", _("answered (2xx)")),
            ("refused", _("refused (4xx)")),
            ("failed", _("failed (5xx)")),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LedgerEntry]
    ) -> QuerySet[LedgerEntry]:
        match self.value():
            case "done":
                return queryset.filter(status__lt=400)
            case "refused":
                return queryset.filter(status__range=(400, 499))
            case "failed":
                return queryset.filter(status__gte=500)
        return queryset


@admin.register(LedgerEntry)
class LedgerEntryAdmin(KeptRecordAdmin):
    list_display = (
        "time",
        "shown_status",
        "model",
        "tokens",
        "ttft",
        "duration",
        "overhead",
        "queued",
        "ending",
        "face",
        "caller",
        "worker",
    )
    list_select_related = ("user", "key", "worker")
    list_filter = ("face", ModelFilter, StatusFilter, "created_at")
    search_fields = ("request_id__exact", "client_request_id__exact")
    search_help_text = _(
        "A whole request id: ours, as in the answer's x-request-id, or the client's own"
    )
    readonly_fields = ("why_this_worker",)
    # It may hold millions of rows: no count, and no order but the one with an index.
    ordering = ("-id",)
    sortable_by = ()
    actions = None

    @admin.display(description=_("time"))
    def time(self, entry: LedgerEntry) -> str:
        return _unbroken(date_format(localtime(entry.created_at), "M j, H:i:s"))

    @admin.display(description=_("tokens (cached)"))
    def tokens(self, entry: LedgerEntry) -> str:
        cached = f" ({entry.cached_tokens:,})" if entry.cached_tokens else ""
        about = "~" if entry.tokens_estimated else ""
        return _unbroken(
            f"{entry.prompt_tokens:,}{cached} → {about}{entry.completion_tokens:,}"
        )

    @admin.display(description=_("caller"))
    def caller(self, entry: LedgerEntry) -> str:
        """Whom the row still leads to: users and keys may have been deleted."""
        names = [entry.user.get_username()] if entry.user else []
        names += [entry.key.name] if entry.key else []
        return " · ".join(names) or "-"

    @display(  # type: ignore[untyped-decorator]
        description=_("status"), label={2: "success", 4: "warning", 5: "danger"}
    )
    def shown_status(self, entry: LedgerEntry) -> tuple[int, str]:
        return entry.status // 100, str(entry.status)

    @admin.display(description=_("TTFT"))
    def ttft(self, entry: LedgerEntry) -> str:
        return _shown(entry.ttft_seconds)

    @admin.display(description=_("duration"))
    def duration(self, entry: LedgerEntry) -> str:
        return _shown(entry.duration_seconds)

    @admin.display(description=_("overhead"))
    def overhead(self, entry: LedgerEntry) -> str:
        return _shown(entry.overhead_seconds)

    @admin.display(description=_("why this worker?"))
    def why_this_worker(self, entry: LedgerEntry) -> str:
        if not entry.explanation:
            return str(_("No worker was chosen."))
        return render_to_string(
            "controller/admin/why_this_worker.html", entry.explanation
        )

    @admin.display(description=_("in line"))
    def queued(self, entry: LedgerEntry) -> str:
        return _shown(entry.queued_seconds)

    @admin.display(description=_("ending"))
    def ending(self, entry: LedgerEntry) -> str:
        return entry.error_code or entry.finish_reason or "-"


def _shown(seconds: float | None) -> str:
    """Milliseconds under a second, where the interest lies; seconds above."""
    if seconds is None:
        return "-"
    return _unbroken(f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms")


def _unbroken(text: str) -> str:
    """The same text, which a narrow column does not break."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")
