"""CORS: whose web pages may call the API from a browser."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminTextInputWidget,
)

from controller.admin.base import AnnouncingAdmin
from controller.forms import ListField, words
from controller.models import AllowedOrigin
from controller.models.origins import ANY, METHODS, any_of_them


class AllowedOriginForm(forms.ModelForm):  # type: ignore[type-arg]
    methods = forms.MultipleChoiceField(
        label=_("Methods"),
        choices=[(ANY, _("* (all)")), *((each, each) for each in METHODS)],
        initial=any_of_them,
        widget=UnfoldAdminSelect2MultipleWidget,
    )
    headers = ListField(
        label=_("Request headers"),
        parse=words,
        required=True,
        initial=any_of_them,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Names with commas, or * for all; OpenAI's client sends many."),
    )

    class Meta:
        model = AllowedOrigin
        fields = ("pattern", "methods", "headers", "allows_credentials", "note")

    def clean_pattern(self) -> str:
        """Stripped: what is pasted often has a space at its end."""
        pattern: str = self.cleaned_data["pattern"]
        return pattern.strip()

    def clean_methods(self) -> list[str]:
        methods: list[str] = self.cleaned_data["methods"]
        return any_of_them() if ANY in methods else methods

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("pattern") == ANY and cleaned.get("allows_credentials"):
            self.add_error("allows_credentials", ValidationError(_NOT_FOR_ALL))
        return cleaned


_NOT_FOR_ALL = _(
    "Not for every site: any page could act as its visitor. Name the sites, or leave"
    " credentials off: API keys work without."
)


@admin.register(AllowedOrigin)
class AllowedOriginAdmin(AnnouncingAdmin):
    announced_topic = "origins"
    form = AllowedOriginForm
    list_display = (
        "pattern",
        "methods_shown",
        "headers_shown",
        "allows_credentials",
        "note",
        "created_at",
    )
    search_fields = ("pattern", "note")
    search_help_text = _("Origin or note")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"methods": any_of_them(), "headers": any_of_them()} | initial

    @admin.display(description=_("methods"))
    def methods_shown(self, row: AllowedOrigin) -> str:
        return ", ".join(row.methods)

    @admin.display(description=_("request headers"))
    def headers_shown(self, row: AllowedOrigin) -> str:
        return ", ".join(row.headers)
