"""Moderation: the rules, and what they have found."""

from typing import Any

from cryptography.fernet import InvalidToken
from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from controller.admin.base import AnnouncingAdmin, ConsoleAdmin
from controller.models import (
    LedgerEntry,
    ModerationFlag,
    ModerationRule,
    ServedModel,
    Team,
)

NUM_SHOWN = 3
# Those that requests come through.
FACES = (
    (LedgerEntry.Face.API.value, _("API")),
    (LedgerEntry.Face.CHAT.value, _("Chat")),
    (LedgerEntry.Face.BATCH.value, _("Batch")),
)


def chosen(label: Any, help_text: Any) -> forms.TypedMultipleChoiceField:
    return forms.TypedMultipleChoiceField(
        label=label,
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=help_text,
    )


class ModerationRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    faces = chosen(_("Faces"), _("None chosen: all."))
    served_models = chosen(_("Models"), _("None chosen: every model."))
    teams = chosen(_("Teams"), _("None chosen: everybody."))

    class Meta:
        model = ModerationRule
        fields = (
            "name",
            "enabled",
            "category",
            "action",
            "direction",
            "terms",
            "pattern",
            "faces",
            "served_models",
            "teams",
            "priority",
            "note",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = {
            *ServedModel.objects.values_list("name", flat=True),
            *self.instance.served_models,  # also of models that went
        }
        teams = dict(Team.objects.values_list("pk", "name"))
        gone = {pk: f"({pk})" for pk in self.instance.teams if pk not in teams}
        self._offer("faces", FACES)
        self._offer("served_models", [(name, name) for name in sorted(names)])
        self._offer("teams", [*teams.items(), *gone.items()], coerce=int)

    def _offer(self, name: str, choices: Any, coerce: Any = str) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.TypedMultipleChoiceField)
        field.choices, field.coerce = choices, coerce


@admin.register(ModerationRule)
class ModerationRuleAdmin(AnnouncingAdmin):
    announced_topic = "moderation"
    form = ModerationRuleForm
    list_display = (
        "name",
        "enabled",
        "action",
        "direction",
        "category",
        "looks_for",
        "priority",
        "note",
    )
    list_filter = ("enabled", "action", "direction")
    search_fields = ("name", "category", "note", "terms", "pattern")
    search_help_text = _("Name, category, note, or what it looks for")
    fieldsets = (
        (None, {"fields": ("name", "enabled", "category", "note")}),
        (_("What it looks for"), {"fields": ("terms", "pattern")}),
        (_("What it does"), {"fields": ("action", "direction", "priority")}),
        (_("For whom"), {"fields": ("faces", "served_models", "teams")}),
    )

    @admin.display(description=_("looks for"))
    def looks_for(self, row: ModerationRule) -> str:
        if row.pattern:
            return row.pattern[:80]
        terms = row.term_lines
        more = len(terms) - NUM_SHOWN
        shown = ", ".join(term[:40] for term in terms[:NUM_SHOWN])
        return f"{shown} (+{more})" if more > 0 else shown


@admin.register(ModerationFlag)
class ModerationFlagAdmin(ConsoleAdmin):
    """Read only: the system writes these rows, and retention deletes them."""

    list_display = (
        "created_at",
        "rule_name",
        "category",
        "action",
        "direction",
        "user",
        "key",
        "model",
        "face",
        "request_id",
    )
    list_select_related = ("user", "key", "team")
    list_filter = ("action", "direction", "face", "created_at")
    search_fields = ("request_id__exact", "rule_name", "category", "user__username")
    search_help_text = _("A whole request id, a rule, a category or a user")
    fields = (
        "created_at",
        "request_id",
        "rule_name",
        "category",
        "action",
        "direction",
        "shown_excerpt",
        "user",
        "key",
        "team",
        "model",
        "face",
    )
    readonly_fields = fields

    @admin.display(description=_("excerpt"))
    def shown_excerpt(self, row: ModerationFlag) -> str:
        try:
            return row.excerpt
        except InvalidToken:
            return str(_("(none of FIELD_KEYS reads it)"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return False
