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
from controller.admin.worker_states import takes_requests
from controller.models import ModelAlias, Placement, ServedModel
from workers.protocol import ModelName


def clean_model_name(name: str) -> str:
    """The name, if workers may offer it; raises ValidationError if not."""
    try:
        return msgspec.convert(name, ModelName)
    except msgspec.ValidationError as exc:
        raise forms.ValidationError(
            _("Letters, digits and . _ : / @ + - only, a letter or digit first.")
        ) from exc


class ServedModelForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ServedModel
        fields = (
            "name",
            "description",
            "policy",
            "required_labels",
            "is_enabled",
            "price_prompt",
            "price_cached",
            "price_completion",
        )
        widgets = {"required_labels": UnfoldAdminTextareaWidget(attrs={"rows": 2})}
        help_texts: ClassVar = {
            name: _("For a million, in your currency.")
            for name in ("price_prompt", "price_completion")
        }

    def clean_required_labels(self) -> dict[str, str]:
        return clean_labels(self.cleaned_data["required_labels"])

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
    list_display = (
        "name",
        "other_names",
        "parent",
        "shown_state",
        "num_live_workers",
        "policy",
        "created_at",
    )
    list_filter = ("is_enabled", "policy")
    list_select_related = ("adapter__parent",)
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
        ).prefetch_related("aliases")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"] if obj else []  # its workers know it by this name

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A model that a worker still serves is disabled, not deleted."""
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not getattr(obj, "is_served", False)

    @admin.display(description=_("aliases"))
    def other_names(self, served_model: ServedModel) -> str:
        return ", ".join(alias.name for alias in served_model.aliases.all()) or "-"

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
