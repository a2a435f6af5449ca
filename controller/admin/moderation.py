"""Moderation: the rules."""

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from controller.admin.base import AnnouncingAdmin
from controller.admin.flags import READ_TEXT, in_one_word
from controller.admin.moderation_bench import (
    FACES,
    BenchForm,
    run_over_chats,
    tried,
)
from controller.errors import ContentBlocked
from controller.gateway import gateway, is_running
from controller.models import ModerationRule, ServedModel, Team
from controller.moderation.rules import Judging, scoped_rule
from controller.moderation.starters import StarterSet, install, starters_of
from controller.moderation.trials import (
    LAST_DAYS,
    TextTrial,
    dry_run,
    try_classifier,
    try_text,
)

LIST = "admin:controller_moderationrule_changelist"
NUM_SHOWN = 3
TRIAL = "_try"  # the button that was pressed: "text" or "messages"
MAX_TRIAL_CHARS = 20_000


def chosen(label: Any, help_text: Any) -> forms.TypedMultipleChoiceField:
    return forms.TypedMultipleChoiceField(
        label=label,
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=help_text,
    )


class NamesField(forms.CharField):
    """A list of names, written with commas between them."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        names = (name.strip() for name in (super().to_python(value) or "").split(","))
        return [name for name in names if name]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class ModerationRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    classifier_categories = NamesField(
        label=_("Its categories"),
        required=False,
        help_text=_("Those that count, such as violence, hate; none: all."),
    )
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
            "whole_words",
            "pattern",
            "classifier",
            "classifier_categories",
            "on_failure",
            "faces",
            "served_models",
            "teams",
            "priority",
            "note",
        )
        help_texts = {
            "classifier": _(
                "In place of terms and pattern: what judges the text. It reads prompts"
                " only: an answer would have to wait for it until its last word."
            )
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "pattern" not in self.fields:  # for those who may only look
            return
        self.fields["pattern"].widget.attrs["rows"] = 3
        names = {
            *ServedModel.objects.values_list("name", flat=True),
            *self.instance.served_models,  # also of models that went
        }
        teams = dict(Team.objects.values_list("pk", "name"))
        gone = {pk: f"({pk})" for pk in self.instance.teams if pk not in teams}
        self._offer("faces", FACES)
        self._offer("served_models", [(name, name) for name in sorted(names)])
        self._offer("teams", [*teams.items(), *gone.items()], coerce=int)

    def is_valid(self) -> bool:
        """Whether the rule is to be saved: one that is only tried is shown again."""
        return super().is_valid() and TRIAL not in self.data

    def _offer(self, name: str, choices: Any, coerce: Any = str) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.TypedMultipleChoiceField)
        field.choices, field.coerce = choices, coerce


class StartersForm(forms.Form):
    sets = forms.MultipleChoiceField(
        label=_("Sets"),
        choices=StarterSet.choices,
        initial=StarterSet.values,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    action = forms.ChoiceField(
        label=_("Action"),
        choices=ModerationRule.Action.choices,
        initial=ModerationRule.Action.FLAG,
        widget=UnfoldAdminSelectWidget,
    )


class TrialForm(forms.Form):
    trial_text = forms.CharField(
        label=_("Text"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
    )


def trial_of(row: ModerationRule, posted: QueryDict) -> dict[str, Any]:
    """What the trial's template shows of this rule, which may not be stored yet."""
    rule = scoped_rule(row)
    text = posted.get("trial_text", "")[:MAX_TRIAL_CHARS]
    if posted[TRIAL] == "messages" and rule.judging is None:
        return {"dry_run": dry_run(rule), "trial_days": LAST_DAYS}
    if posted[TRIAL] == "messages":
        words = _("Each message would be sent to the classifier: try it on a text.")
        trial = TextTrial(failure=str(words))
    elif rule.judging is not None:
        trial = _classified(rule.judging, text)
    else:
        trial = try_text(rule, text)
    return {
        "text_trial": trial,
        "refusal": ContentBlocked(row.category).message,
        "rule": row,
    }


def _classified(judging: Judging, text: str) -> TextTrial:
    if not is_running():
        return TextTrial(failure=str(_("No gateway runs in this process.")))
    judges = gateway().moderator.judges
    return async_to_sync(try_classifier)(judges, judging, text)


@admin.register(ModerationRule)
class ModerationRuleAdmin(AnnouncingAdmin):
    announced_topic = "moderation"
    form = ModerationRuleForm
    list_display = (
        "name",
        "enabled",
        "done",
        "way",
        "category",
        "looks_for",
        "priority",
        "note",
    )
    list_filter = ("enabled", "action", "direction")
    list_select_related = ("classifier",)
    search_fields = ("name", "category", "note", "terms", "pattern")
    search_help_text = _("Name, category, note, or what it looks for")
    fieldsets = (
        (None, {"fields": ("name", "enabled", "category", "note")}),
        (
            _("What it looks for"),
            {
                "fields": (
                    "terms",
                    "whole_words",
                    "pattern",
                    "classifier",
                    "classifier_categories",
                    "on_failure",
                )
            },
        ),
        (_("What it does"), {"fields": ("action", "direction", "priority")}),
        (_("For whom"), {"fields": ("faces", "served_models", "teams")}),
    )

    actions_list = ("bench", "install_starters")
    conditional_fields = {  # django-unfold reads it off the class
        "classifier_categories": "classifier",
        "on_failure": "classifier",
    }
    change_form_after_template = "controller/admin/rule_trial.html"

    @action(  # type: ignore[untyped-decorator]
        description=_("Test bench"), icon="science", permissions=["change"]
    )
    def bench(self, request: HttpRequest) -> HttpResponse:
        """A form for a text and whose it is; sent, what all rules do to it."""
        form = BenchForm(request.POST or None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Test bench"),
            "form": form,
        }
        if request.POST.get(TRIAL) == "messages":
            context |= run_over_chats()
        elif form.is_valid():
            context |= tried(form)
        return TemplateResponse(request, "controller/admin/rule_bench.html", context)

    @action(  # type: ignore[untyped-decorator]
        description=_("Starter rules"), icon="playlist_add", permissions=["add"]
    )
    def install_starters(self, request: HttpRequest) -> HttpResponse:
        """A form with the sets; sent, their rules are added."""
        form = StartersForm(request.POST or None)
        if form.is_valid():
            choice = ModerationRule.Action(form.cleaned_data["action"])
            added = install(form.cleaned_data["sets"], choice)
            for rule in added:
                self.log_addition(request, rule, gettext_noop("Starter rule."))
            words = ngettext("%d rule added.", "%d rules added.", len(added))
            self.message_user(request, words % len(added))
            return redirect(LIST)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Starter rules"),
            "form": form,
            "sets": [
                {"label": each.label, "starters": starters_of([each])}
                for each in StarterSet
            ],
            "known": set(ModerationRule.objects.values_list("name", flat=True)),
        }
        return TemplateResponse(request, "controller/admin/starter_rules.html", context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **kwargs: Any
    ) -> HttpResponse:
        """The form, and what the rule does that stands in it, if it is only tried."""
        form = context["adminform"].form
        context["trial_form"] = TrialForm(request.POST or None)
        context["may_read_messages"] = request.user.has_perm(READ_TEXT)
        if TRIAL in request.POST and not form.errors:
            context |= trial_of(form.instance, request.POST)
        answer: HttpResponse = super().render_change_form(request, context, **kwargs)
        return answer

    @admin.display(description=_("action"), ordering="action")
    def done(self, row: ModerationRule) -> str:
        return in_one_word(row.action)  # the form explains it

    @admin.display(description=_("direction"), ordering="direction")
    def way(self, row: ModerationRule) -> str:
        return in_one_word(row.direction)

    @admin.display(description=_("looks for"))
    def looks_for(self, row: ModerationRule) -> str:
        if row.classifier is not None:
            return str(row.classifier)
        if row.pattern:
            return row.pattern[:80]
        terms = row.term_lines
        more = len(terms) - NUM_SHOWN
        shown = ", ".join(term[:40] for term in terms[:NUM_SHOWN])
        return f"{shown} (+{more})" if more > 0 else shown
