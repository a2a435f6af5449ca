"""Alerts about budgets: what was told, and what could not be."""

from django.contrib import admin
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from controller.admin.base import KeptRecordAdmin
from controller.models import BudgetAlert

# django-unfold leaves out the words of what has no entry.
LABELS = {True: "success", False: "warning", None: ""}


@admin.register(BudgetAlert)
class BudgetAlertAdmin(KeptRecordAdmin):
    list_display = (
        "budget",
        "period_start",
        "reached",
        "used_of_total",
        "created_at",
        "mailed",
        "webhook",
        "next_attempt_at",
    )
    list_select_related = ("limit__key", "limit__user", "limit__team")
    list_filter = ("threshold", "created_at")
    search_fields = ("limit__key__name", "limit__user__username", "limit__team__name")
    search_help_text = _("Key, user or team")
    sortable_by = ()
    actions = None

    @admin.display(description=_("budget"))
    def budget(self, alert: BudgetAlert) -> str:
        return str(alert.limit)

    @admin.display(description=_("threshold"))
    def reached(self, alert: BudgetAlert) -> str:
        return f"{alert.threshold} %"

    @admin.display(description=_("used"))
    def used_of_total(self, alert: BudgetAlert) -> str:
        in_words = alert.limit.in_words
        return f"{in_words(alert.used)} / {in_words(alert.total)}"

    @display(  # type: ignore[untyped-decorator]
        description=_("mailed"), label=LABELS
    )
    def mailed(self, alert: BudgetAlert) -> tuple[bool | None, str]:
        if alert.is_covered:
            return None, gettext("with a higher threshold")
        if alert.mailed_at is None:
            return (False, alert.mail_error) if alert.mail_error else (None, "-")
        if not alert.num_mailed:
            return False, gettext("nobody has an address")
        return True, date_format(alert.mailed_at, "DATETIME_FORMAT")

    @display(  # type: ignore[untyped-decorator]
        description=_("webhook"), label=LABELS
    )
    def webhook(self, alert: BudgetAlert) -> tuple[bool | None, str]:
        if alert.webhook_delivered_at is not None:
            return True, date_format(alert.webhook_delivered_at, "DATETIME_FORMAT")
        return (False, alert.webhook_error) if alert.webhook_error else (None, "-")
