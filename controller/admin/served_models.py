"""Models that callers ask for, with their other names."""

from typing import Any, ClassVar

import msgspec
from django import forms
from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from controller.admin.base import AnnouncingAdmin
from controller.admin.labels import clean_labels
from controller.fleet.worker_states import takes_requests
from controller.models import ModelAlias, Placement, ServedModel
from controller.relay.preparing import check_parameters
from workers.protocol import ModelName


def clean_model_name(name: str) -> str:
    """The name, if workers may offer it; raises ValidationError if not."""
    try:
        return msgspec.convert(name, ModelName)
    except msgspec.ValidationError as exc:
        raise forms.ValidationError(
            _("Letters, digits and . _ : / @ + - only, a letter or digit first.")
        ) from exc


# Headings, and what stands under each.
FIELDS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (_("What users see"), ("name", "description", "licence", "is_enabled", "teams")),
    (
        _("How it is asked"),
        ("system_prompt", "default_parameters", "context_limit"),
    ),
    (
        _("Who answers"),
        ("policy", "required_labels", "canary_percent", "canary_labels", "fallback"),
    ),
    (_("Prices"), ("price_prompt", "price_cached", "price_completion")),
)


class ServedModelForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ServedModel
        fields = tuple(name for _title, names in FIELDS for name in names)
        widgets: ClassVar = {
            name: UnfoldAdminTextareaWidget(attrs={"rows": rows})
            for name, rows in (
                ("description", 3),
                ("required_labels", 2),
                ("canary_labels", 2),
                ("default_parameters", 3),
                ("system_prompt", 4),
            )
        }
        help_texts: ClassVar = {
            "teams": _(
                "Who may see it and ask it; none: everybody. To others it does not"
                " exist."
            ),
            "default_parameters": _(
                'Of requests that do not say otherwise, such as {"temperature": 0.2}.'
            ),
            "system_prompt": _("Put before conversations that bring none."),
            "context_limit": _(
                "Tokens of prompt and answer together; empty: what its engines take."
            ),
            "canary_percent": _(
                "So many of 100 sessions go to the workers with the labels below, and"
                " all others to the rest."
            ),
            "canary_labels": _('Such as {"version": "2"}; empty: no canary.'),
            "fallback": _("Asked where no worker of this model takes a request."),
            "price_prompt": _("For a million, in your currency."),
            "price_completion": _("For a million, in your currency."),
        }

    def clean_required_labels(self) -> dict[str, str]:
        return clean_labels(self.cleaned_data["required_labels"])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "canary_percent" in self.fields:  # who may only look has no fields
            self.fields["canary_percent"].required = False

    def clean_canary_percent(self) -> int:
        return self.cleaned_data["canary_percent"] or 0

    def clean_canary_labels(self) -> dict[str, str]:
        return clean_labels(self.cleaned_data["canary_labels"])

    def clean_default_parameters(self) -> dict[str, Any]:
        try:
            return check_parameters(self.cleaned_data["default_parameters"])
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc

    def clean_fallback(self) -> ServedModel | None:
        fallback: ServedModel | None = self.cleaned_data["fallback"]
        if fallback is not None and fallback.pk == self.instance.pk:
            raise forms.ValidationError(
                _("A model cannot stand in for itself. Choose another, or none.")
            )
        return fallback

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("canary_percent") and not cleaned.get("canary_labels", True):
            self.add_error(
                "canary_labels", _("Say which workers are to have the share.")
            )
        return cleaned

    def clean_name(self) -> str:
        name = clean_model_name(self.cleaned_data["name"])
        alias = ModelAlias.objects.filter(name=name).first()
        if alias:
            raise forms.ValidationError(
                _("%(name)s is already an alias of %(model)s."),
                params={"name": name, "model": alias.served_model},
            )
        return name


class ModelAliasForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ModelAlias
        fields = ("name",)

    def clean_name(self) -> str:
        name = clean_model_name(self.cleaned_data["name"])
        if ServedModel.objects.filter(name=name).exists():
            raise forms.ValidationError(
                _("%(name)s is the name of a model; an alias cannot be the same."),
                params={"name": name},
            )
        return name


class ModelAliasFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """The aliases of one model; they also differ from the name it is being given."""

    def clean(self) -> None:
        super().clean()
        name = self.instance.name
        for form in self.forms:
            if form.cleaned_data and form.cleaned_data.get("name") == name:
                form.add_error("name", _("This is the model's own name."))


class ModelAliasInline(TabularInline):  # type: ignore[misc]  # no types
    model = ModelAlias
    form = ModelAliasForm
    formset = ModelAliasFormSet
    hide_title = True
    extra = 0


@admin.register(ServedModel)
class ServedModelAdmin(AnnouncingAdmin):
    announced_topic = "fleet"
    form = ServedModelForm
    inlines = (ModelAliasInline,)
    fieldsets = tuple((title, {"fields": names}) for title, names in FIELDS)
    autocomplete_fields = ("teams", "fallback")
    list_display = (
        "name",
        "other_names",
        "parent",
        "shown_state",
        "num_live_workers",
        "audience",
        "policy",
        "fallback",
        "created_at",
    )
    list_filter = ("is_enabled", "policy", "teams")
    list_select_related = ("adapter__parent", "fallback")
    search_fields = ("name", "aliases__name", "description")
    search_help_text = _("Name, alias or description")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServedModel]:
        live = takes_requests("workers__")
        registered = Placement.objects.filter(
            served_model=OuterRef("pk"), worker__left_at=None
        )
        models: QuerySet[ServedModel] = super().get_queryset(request)
        return models.annotate(
            num_live=Count("workers", filter=live, distinct=True),
            is_served=Exists(registered),
        ).prefetch_related("aliases", "teams")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"] if obj else []  # its workers know it by this name

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A model that a worker still serves is disabled, not deleted."""
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not getattr(obj, "is_served", False)

    @admin.display(description=_("aliases"))
    def other_names(self, served_model: ServedModel) -> str:
        return ", ".join(alias.name for alias in served_model.aliases.all()) or "-"

    @admin.display(description=_("visible to"))
    def audience(self, served_model: ServedModel) -> str:
        names = [team.name for team in served_model.teams.all()]
        return ", ".join(names) or str(_("everybody"))

    @admin.display(description=_("adapter of"))
    def parent(self, served_model: ServedModel) -> str:
        adapter = getattr(served_model, "adapter", None)
        return adapter.parent.name if adapter else "-"

    @display(  # type: ignore[untyped-decorator]
        description=_("state"),
        label={"served": "success", "waiting": "warning", "disabled": "default"},
    )
    def shown_state(self, served_model: Any) -> tuple[str, Any]:
        if not served_model.is_enabled:
            return "disabled", _("disabled")
        if not served_model.num_live:
            return "waiting", _("no live worker")
        return "served", _("served")

    @admin.display(description=_("live workers"), ordering="num_live")
    def num_live_workers(self, served_model: Any) -> int:
        return int(served_model.num_live)
