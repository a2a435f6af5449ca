"""The site's presets and saved prompts in the console. Others' are not shown there."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from chat.composing.forms import SetupForm
from chat.composing.models import Preset, SavedPrompt, SharedQuerySet
from controller.admin.base import ConsoleAdmin


class SiteShelfAdmin(ConsoleAdmin):
    list_display: tuple[str, ...] = ("name", "created_at")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request)
        assert isinstance(rows, SharedQuerySet)
        return rows.of_site()


class SitePresetForm(SetupForm, forms.ModelForm):  # type: ignore[type-arg]
    """The parameters as fields of their own, checked as the chat page's are."""

    class Meta:
        model = Preset
        fields = ("name", "model", "system_prompt")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields = self.instance.setup.parameters.fields()
        stop = [text.replace("\n", "\\n") for text in fields.pop("stop", [])]
        self.initial = {**fields, "stop": "\n".join(stop), **self.initial}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            self.instance.set_up(self.setup)
        return cleaned


@admin.register(Preset)
class PresetAdmin(SiteShelfAdmin):
    form = SitePresetForm
    list_display = ("name", "model", "created_at")


@admin.register(SavedPrompt)
class SavedPromptAdmin(SiteShelfAdmin):
    fields = ("name", "text")
