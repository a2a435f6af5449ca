"""The review queue: what rules have found, and what operators say of it."""

from typing import Any, cast

from cryptography.fernet import InvalidToken
from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from controller.admin.base import RecordAdmin
from controller.admin.confirming import confirmed
from controller.models import Ban, ModerationFlag, User
from controller.moderation.verdicts import decide, num_strikes

Verdict = ModerationFlag.Verdict
QUEUE = "admin:controller_moderationflag_changelist"
READ_TEXT = "controller.view_message_text"
EXCERPTS = ("shown_excerpt", "short_excerpt")
COLOURS = {
    Verdict.OPEN: "warning",
    Verdict.RELEASED: "success",
    Verdict.CONFIRMED: "danger",
}

# Actions and directions of rules, where a list has no room to explain them.
WORDS = {
    "block": _("block"),
    "redact": _("redact"),
    "flag": _("flag"),
    "input": _("input"),
    "output": _("output"),
    "both": _("both"),
}


def in_one_word(value: str) -> str:
    return str(WORDS.get(value, value))


class VerdictForm(forms.Form):
    note = forms.CharField(
        label=_("Note"),
        max_length=500,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("For operators alone."),
    )


@admin.register(ModerationFlag)
class ModerationFlagAdmin(RecordAdmin):
    """Read only but for verdicts: the system writes these rows, and retention deletes
    them."""

    list_display = (
        "created_at",
        "shown_verdict",
        "user",
        "rule_name",
        "short_excerpt",
        "done",
        "way",
        "face",
        "model",
    )
    list_select_related = ("user", "key", "team")
    list_filter = ("verdict", "action", "direction", "face", "created_at")
    search_fields = ("request_id__exact", "rule_name", "category", "user__username")
    search_help_text = _("A whole request id, a rule, a category or a user")
    fields = (
        "verdict",
        "verdict_note",
        "decided_by",
        "decided_at",
        "shown_excerpt",
        "rule_name",
        "category",
        "action",
        "direction",
        "user",
        "strikes",
        "key",
        "team",
        "model",
        "face",
        "created_at",
        "request_id",
    )
    readonly_fields = fields
    actions = ("release_all", "confirm_all")
    actions_detail = ("release", "confirm")

    def has_decide_permission(
        self, request: HttpRequest, object_id: Any = None
    ) -> bool:
        return request.user.has_perm("controller.change_moderationflag")

    def get_list_display(self, request: HttpRequest) -> list[str]:
        """Without excerpts for those who may not read what people write."""
        may_read = request.user.has_perm(READ_TEXT)
        return [name for name in self.list_display if may_read or name not in EXCERPTS]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Without the excerpt for those who may not read what people write."""
        may_read = request.user.has_perm(READ_TEXT)
        return [name for name in self.fields if may_read or name not in EXCERPTS]

    @display(  # type: ignore[untyped-decorator]
        description=_("verdict"), label=COLOURS, ordering="verdict"
    )
    def shown_verdict(self, row: ModerationFlag) -> tuple[str, str]:
        return row.verdict, row.get_verdict_display()

    @admin.display(description=_("excerpt"))
    def shown_excerpt(self, row: ModerationFlag) -> str:
        try:
            return row.excerpt
        except InvalidToken:
            return str(_("(none of FIELD_KEYS reads it)"))

    @admin.display(description=_("excerpt"))
    def short_excerpt(self, row: ModerationFlag) -> str:
        return Truncator(self.shown_excerpt(row)).chars(80)

    @admin.display(description=_("action"), ordering="action")
    def done(self, row: ModerationFlag) -> str:
        return in_one_word(row.action)  # the rule's form explains it

    @admin.display(description=_("direction"), ordering="direction")
    def way(self, row: ModerationFlag) -> str:
        return in_one_word(row.direction)

    @admin.display(description=_("strikes"))
    def strikes(self, row: ModerationFlag) -> str:
        if row.user_id is None:
            return "-"
        return f"{num_strikes(row.user_id)} / {settings.MODERATION_STRIKES}"

    @action(  # type: ignore[untyped-decorator]
        description=_("Release"), icon="check", permissions=["decide"]
    )
    def release(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A form with a note; sent, the flag is no strike."""
        return self._decide(request, object_id, Verdict.RELEASED, _("Release"))

    @action(  # type: ignore[untyped-decorator]
        description=_("Confirm"), icon="gavel", permissions=["decide"]
    )
    def confirm(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A form with a note; sent, the flag is a strike."""
        return self._decide(request, object_id, Verdict.CONFIRMED, _("Confirm"))

    @admin.action(description=_("Release"), permissions=["decide"])
    def release_all(
        self, request: HttpRequest, flags: QuerySet[ModerationFlag]
    ) -> None:
        self._decide_all(request, flags, Verdict.RELEASED)

    @admin.action(description=_("Confirm"), permissions=["decide"])
    @confirmed(
        _(
            "Each request counts as a strike against its user, and enough strikes are"
            " a ban."
        )
    )
    def confirm_all(
        self, request: HttpRequest, flags: QuerySet[ModerationFlag]
    ) -> None:
        self._decide_all(request, flags, Verdict.CONFIRMED)

    def _decide_all(
        self, request: HttpRequest, flags: QuerySet[ModerationFlag], verdict: Verdict
    ) -> None:
        num_decided = 0
        for pk in flags.values_list("pk", flat=True):
            self._decide_one(request, pk, verdict, "")
            num_decided += 1
        words = ngettext("%d flag is %s.", "%d flags are %s.", num_decided)
        self.message_user(request, words % (num_decided, verdict.label))

    def _decide_one(
        self, request: HttpRequest, pk: int, verdict: Verdict, note: str
    ) -> None:
        flag, ban = decide(pk, cast("User", request.user), verdict, note)
        # Not in the operator's language: logs are read by others, too.
        said = f"{verdict.value}: {note}" if note else verdict.value
        self.log_change(request, flag, said)
        if ban is not None:
            self.message_user(request, _banned(ban), "warning")

    def _decide(
        self, request: HttpRequest, pk: int, verdict: Verdict, verb: Any
    ) -> HttpResponse:
        # With its user, who may have been deleted: then there is none.
        flags = ModerationFlag.objects.select_related("user")
        flag = get_object_or_404(flags, pk=pk)
        form = VerdictForm(request.POST or None, initial={"note": flag.verdict_note})
        if request.method == "POST" and form.is_valid():
            self._decide_one(request, pk, verdict, form.cleaned_data["note"])
            self.message_user(request, _("The flag is %s.") % verdict.label)
            return redirect(f"{reverse(QUEUE)}?verdict__exact={Verdict.OPEN}")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{verb}: {flag.rule_name}",
            "form": form,
            "row": flag,
            "action": in_one_word(flag.action),
            "excerpt": self._excerpt_for(request, flag),
            "consequence": _consequence(flag, verdict),
            "verb": verb,
        }
        return TemplateResponse(request, "controller/admin/flag_verdict.html", context)

    def _excerpt_for(self, request: HttpRequest, flag: ModerationFlag) -> str:
        return self.shown_excerpt(flag) if request.user.has_perm(READ_TEXT) else ""


def _banned(ban: Ban) -> str:
    return _("%(user)s is banned until %(when)s UTC: the strikes are complete.") % {
        "user": ban.user,
        "when": f"{ban.ends_at:%Y-%m-%d %H:%M}",
    }


def _consequence(flag: ModerationFlag, verdict: Verdict) -> str:
    """What the verdict does to the user, in a sentence."""
    needed = settings.MODERATION_STRIKES
    if verdict == Verdict.RELEASED:
        return str(_("It does not count against the user."))
    if flag.user is None or not needed:
        return str(_("Nothing else follows from it."))
    others = ModerationFlag.objects.strikes_of(flag.user.pk)
    strikes = others.exclude(request_id=flag.request_id).num_requests() + 1
    words = _(
        "It is strike %(strike)d of %(needed)d for %(user)s within %(days)d days;"
        " %(needed)d bring a ban of %(length)d day(s)."
    )
    return words % {
        "strike": min(strikes, needed),
        "needed": needed,
        "user": flag.user,
        "days": settings.MODERATION_STRIKE_DAYS,
        "length": settings.MODERATION_BAN_DAYS,
    }
