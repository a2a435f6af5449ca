"""The ledger beside the engines' own counts."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from controller.admin.base import ConsoleAdmin
from controller.models import EngineStart

GOOD_PPM = 1_000  # 0.1 %


@admin.register(EngineStart)
class EngineStartAdmin(ConsoleAdmin):
    list_display = (
        "worker",
        "start_id",
        "last_heard_at",
        "engine_counted",
        "ledger_counted",
        "cut",
        "difference",
        "reconciled_at",
    )
    list_select_related = ("worker",)
    list_filter = ("last_heard_at",)
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("engine's tokens"))
    def engine_counted(self, start: EngineStart) -> str:
        return f"{start.engine_tokens:,}"

    @admin.display(description=_("ledger's tokens"))
    def ledger_counted(self, start: EngineStart) -> str:
        return f"{start.counted_tokens:,}" if start.reconciled_at else "-"

    @admin.display(description=_("of cut requests (estimated)"))
    def cut(self, start: EngineStart) -> str:
        return f"{start.cut_tokens:,} ({start.num_cut:,})" if start.num_cut else "-"

    @display(  # type: ignore[untyped-decorator]
        description=_("difference"), label={True: "success", False: "warning"}
    )
    def difference(self, start: EngineStart) -> tuple[bool | None, str]:
        """In parts per million of the engine's own count."""
        ppm = start.difference_ppm
        if ppm is None or start.reconciled_at is None:
            return None, "-"
        return abs(ppm) <= GOOD_PPM, f"{ppm:+,} ppm"
