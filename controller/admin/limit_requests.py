"""What people ask for beyond their limits, and the operators' answers."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from controller.admin.base import RecordAdmin
from controller.limits.requests import decide
from controller.models import LimitRequest, User

MAX_ANSWER_LENGTH = 1000
LIST = "admin:controller_limitrequest_changelist"
COLOURS = {
    LimitRequest.State.OPEN: "warning",
    LimitRequest.State.APPROVED: "success",
    LimitRequest.State.DENIED: "danger",
}


class DenialForm(forms.Form):
    answer = forms.CharField(
        label=_("Reason"),
        max_length=MAX_ANSWER_LENGTH,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("Shown to who asked."),
    )


class ApprovalForm(forms.Form):
    amount = forms.DecimalField(
        label=_("Amount"),
        min_value=0,
        max_digits=18,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text=_("What the limit is from then on."),
    )
    answer = forms.CharField(
        label=_("Answer"),
        max_length=MAX_ANSWER_LENGTH,
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("Shown to who asked."),
    )


@admin.register(LimitRequest)
class LimitRequestAdmin(RecordAdmin):
    """Read only: rows change by being answered."""

    list_display = (
        "created_at",
        "shown_state",
        "user",
        "owner",
        "kind",
        "present",
        "wished",
        "reason",
        "shown_granted",
        "decided_by",
    )
    list_select_related = (
        "user",
        "limit__key",
        "limit__user",
        "limit__team",
        "decided_by",
    )
    list_filter = ("state", "kind")
    search_fields = ("user__username", "owner_name", "reason")
    search_help_text = _("Who asked, whose limit, or a word of the reason")
    fields = (
        "user",
        "owner",
        "kind",
        "present",
        "wished",
        "reason",
        "created_at",
        "state",
        "shown_granted",
        "answer",
        "decided_by",
        "decided_at",
    )
    readonly_fields = fields
    actions = ("approve_as_asked",)
    actions_detail = ("approve", "deny")

    def has_decide_permission(
        self, request: HttpRequest, object_id: Any = None
    ) -> bool:
        """Whoever may answer and may set limits; no button where it is answered."""
        needed = ("controller.change_limitrequest", "controller.change_limit")
        if not request.user.has_perms(needed):
            return False
        # Of two operators with the form open, the second must be told what happened.
        if object_id is None or request.method == "POST":
            return True
        return LimitRequest.objects.open().filter(pk=object_id).exists()

    @display(  # type: ignore[untyped-decorator]
        description=_("state"), label=COLOURS, ordering="state"
    )
    def shown_state(self, row: LimitRequest) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description=_("limit of"))
    def owner(self, row: LimitRequest) -> str:
        return row.owner_in_words

    @admin.display(description=_("limit now"))
    def present(self, row: LimitRequest) -> str:
        if row.limit is None:
            return str(_("deleted"))
        return row.limit.in_words(row.limit.units)

    @admin.display(description=_("wished"), ordering="amount")
    def wished(self, row: LimitRequest) -> str:
        return row.wished_in_words

    @admin.display(description=_("granted"), ordering="granted")
    def shown_granted(self, row: LimitRequest) -> str:
        return row.granted_in_words or "-"

    @action(  # type: ignore[untyped-decorator]
        description=_("Approve"), icon="check", permissions=["decide"]
    )
    def approve(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A form with the amount; sent, the limit is raised to it."""
        row = get_object_or_404(LimitRequest, pk=object_id)
        wished = row.amount if row.amount % 1 else int(row.amount)
        form = ApprovalForm(request.POST or None, initial={"amount": wished})
        done = gettext_noop("Approved.")
        return self._answer(request, row, form, _("Approve"), done)

    @action(  # type: ignore[untyped-decorator]
        description=_("Deny"), icon="block", permissions=["decide"]
    )
    def deny(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A form with the reason; sent, the limit stays."""
        row = get_object_or_404(LimitRequest, pk=object_id)
        form, done = DenialForm(request.POST or None), gettext_noop("Denied.")
        return self._answer(request, row, form, _("Deny"), done)

    @admin.action(description=_("Approve as asked"), permissions=["decide"])
    def approve_as_asked(
        self, request: HttpRequest, rows: QuerySet[LimitRequest]
    ) -> None:
        num_approved = 0
        for row in rows:
            try:
                decide(row.pk, cast("User", request.user), row.amount)
            except ValidationError as exc:
                words = f"{row}: {' '.join(exc.messages)}"
                self.message_user(request, words, "error")
            else:
                self.log_change(request, row, gettext_noop("Approved."))
                num_approved += 1
        if num_approved:
            words = ngettext(
                "%d request approved.", "%d requests approved.", num_approved
            )
            self.message_user(request, words % num_approved)

    def _answer(
        self,
        request: HttpRequest,
        row: LimitRequest,
        form: forms.Form,
        verb: Any,
        done: str,
    ) -> HttpResponse:
        if form.is_valid():
            operator, said = cast("User", request.user), form.cleaned_data
            try:
                decide(row.pk, operator, said.get("amount"), said["answer"])
            except ValidationError as exc:
                form.add_error(None, exc)
            else:
                self.log_change(request, row, done)
                self.message_user(request, _("Answered."))
                return redirect(LIST)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{verb}: {row}",
            "form": form,
            "row": row,
            "present": self.present(row),
            "verb": verb,
        }
        return TemplateResponse(
            request, "controller/admin/limit_request_answer.html", context
        )
