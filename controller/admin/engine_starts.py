"""The ledger beside the engines' own counts."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from controller.admin.base import KeptRecordAdmin
from controller.models import EngineStart

GOOD_PPM = 1_000  # 0.1 %


@admin.register(EngineStart)
class EngineStartAdmin(KeptRecordAdmin):
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
    sortable_by = ()
    actions = None

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
