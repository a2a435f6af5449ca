"""LoRA adapters: which are to be served, on top of what, and how far workers are."""

from collections import Counter
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from controller.admin.base import AnnouncingAdmin
from controller.admin.served_models import clean_model_name
from controller.fleet.adapters import (
    MAX_ADAPTERS,
    OnWorker,
    whereabouts,
    with_workers,
)
from controller.models import Adapter, ModelAlias, Placement, ServedModel, Worker

NOWHERE = "nowhere"
COLOURS: dict[str, str] = {
    NOWHERE: "default",
    OnWorker.LOADED: "success",
    OnWorker.LOADING: "info",
    OnWorker.UNLOADING: "info",
    OnWorker.FAILED: "danger",
    OnWorker.WISHED: "warning",
    OnWorker.SILENT: "default",
    OnWorker.NOT_TAKEN: "default",
}


WORST_FIRST = (
    OnWorker.FAILED,
    OnWorker.WISHED,
    OnWorker.LOADING,
    OnWorker.UNLOADING,
    OnWorker.LOADED,
    OnWorker.SILENT,
    OnWorker.NOT_TAKEN,
)


class AdapterForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Adapter
        fields = ("name", "parent", "source", "is_enabled", "policy", "description")
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 3})}
        help_texts = {
            "name": _("What callers ask for."),
            "parent": _("The model that it was trained on top of."),
            "source": _(
                "The adapter's folder on the workers' machines, as PEFT saved it, or"
                " its name on the model hub."
            ),
            "is_enabled": _("Workers load it while it is enabled, and then unload it."),
        }

    def clean_name(self) -> str:
        name = clean_model_name(self.cleaned_data["name"])
        alias = ModelAlias.objects.filter(name=name).first()
        if alias:
            raise forms.ValidationError(
                _(
                    "%(name)s is an alias of %(model)s. Choose another name, or remove"
                    " the alias."
                ),
                params={"name": name, "model": alias.served_model},
            )
        if Adapter.objects.filter(name=name).exists():
            raise forms.ValidationError(
                _("%(name)s is an adapter already: change that one."),
                params={"name": name},
            )
        if ServedModel.objects.filter(name=name).exists():
            raise forms.ValidationError(
                _(
                    "%(name)s is a model already. Choose another name, or delete the"
                    " model if no worker is to serve it any more."
                ),
                params={"name": name},
            )
        return name

    def clean_parent(self) -> ServedModel:
        parent: ServedModel = self.cleaned_data["parent"]
        if base := base_of(parent):
            raise forms.ValidationError(
                _(
                    "%(parent)s is itself an adapter. Choose the model that it is on"
                    " top of: %(base)s."
                ),
                params={"parent": parent, "base": base},
            )
        others = Adapter.objects.filter(parent=parent).exclude(pk=self.instance.pk)
        if others.count() >= MAX_ADAPTERS:
            raise forms.ValidationError(
                _("%(parent)s has %(number)d adapters, and no more fit. Delete one."),
                params={"parent": parent, "number": MAX_ADAPTERS},
            )
        return parent

    def clean_source(self) -> str:
        source: str = self.cleaned_data["source"]
        if "://" in source or not source.isprintable():
            raise forms.ValidationError(
                _(
                    "%(source)s is no folder or name on the model hub. Write it as"
                    " /adapters/sql or as organisation/name."
                ),
                params={"source": source},
            )
        return source


def base_of(model: ServedModel) -> str:
    """What the model is an adapter of, by a row or by what workers say; empty if it
    is none."""
    if adapter := Adapter.objects.filter(pk=model.pk).select_related("parent").first():
        return adapter.parent.name
    placed = Placement.objects.filter(served_model=model, worker__left_at=None)
    return placed.exclude(parent="").values_list("parent", flat=True).first() or ""


@admin.register(Adapter)
class AdapterAdmin(AnnouncingAdmin):
    announced_topic = "fleet"
    form = AdapterForm
    list_display = ("name", "parent", "source", "is_enabled", "shown_state")
    list_filter = ("is_enabled", "parent")
    search_fields = ("name", "parent__name", "source", "description")
    search_help_text = _("Name, parent, source or description")
    autocomplete_fields = ("parent",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Adapter]:
        return with_workers(super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        decided = (_("What you decide"), {"fields": AdapterForm.Meta.fields})
        fares = (_("How it fares"), {"fields": ("on_workers",)})
        return (fares, decided) if obj else (decided,)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Callers and keys know it by its name.
        return ["name", "on_workers"] if obj else []

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        taking = Worker.objects.live().filter(
            takes_adapters=True, served_models=obj.parent
        )
        if obj.is_enabled and not taking.exists():
            self.message_user(
                request,
                _(
                    "No live worker of %(parent)s takes adapters: start one with"
                    " `python -m workers.vllm_worker --enable-lora`."
                )
                % {"parent": obj.parent},
                messages.WARNING,
            )

    @display(description=_("state"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, adapter: Adapter) -> tuple[str, Any]:
        """The worst of its workers' states as colour; all, and how many are in each."""
        counted = Counter(each.state for each in whereabouts(adapter))
        if not counted:
            return NOWHERE, _("no worker") if adapter.is_enabled else _("disabled")
        states = sorted(counted, key=WORST_FIRST.index)
        return states[0], ", ".join(f"{counted[each]} {each.label}" for each in states)

    @admin.display(description=_("on workers"))
    def on_workers(self, adapter: Adapter) -> str:
        lines = []
        for each in whereabouts(adapter):
            words = (each.worker.address, str(each.state.label), each.reason)
            lines.append((": ".join(filter(None, words)),))
        return format_html_join("", "<div>{}</div>", lines) or "-"
