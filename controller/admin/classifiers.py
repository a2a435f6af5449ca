"""Classifiers: where texts are sent to be judged, and with which key."""

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget

from controller.admin.base import AnnouncingAdmin
from controller.models import Classifier
from controller.models.classifiers import INSTRUCTIONS


class ClassifierForm(forms.ModelForm):  # type: ignore[type-arg]
    key = forms.CharField(
        label=_("API key"),
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text=_(
            "Kept encrypted and never shown. Empty: as it is, or none for another host."
        ),
    )
    has_forgotten_key = False
    """Whether the key was not written anew for another host, where it is not sent."""

    class Meta:
        model = Classifier
        fields = (
            "name",
            "kind",
            "url",
            "key",
            "model",
            "instructions",
            "threshold",
            "names",
            "timeout_seconds",
        )

    def clean_names(self) -> Any:
        return self.cleaned_data["names"] or {}

    def save(self, commit: bool = True) -> Any:
        if key := self.cleaned_data["key"]:
            self.instance.key = key
        elif self.instance.encrypted_key and self._leads_elsewhere():
            self.instance.key = ""
            self.has_forgotten_key = True
        return super().save(commit)

    def _leads_elsewhere(self) -> bool:
        """Whether texts, and a key, would go to another host than before."""
        before, after = urlsplit(self.initial["url"]), urlsplit(self.instance.url)
        return (before.scheme, before.netloc) != (after.scheme, after.netloc)


@admin.register(Classifier)
class ClassifierAdmin(AnnouncingAdmin):
    announced_topic = "moderation"
    form = ClassifierForm
    list_display = ("name", "kind", "url", "model", "timeout_seconds", "num_rules")
    list_filter = ("kind",)
    search_fields = ("name", "url", "model")
    conditional_fields = {  # django-unfold reads it off the class
        "url": "kind == 'endpoint'",
        "key": "kind == 'endpoint'",
        "threshold": "kind == 'endpoint'",
        "instructions": "kind == 'model'",
    }

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if form.has_forgotten_key:
            words = _(
                "The key was for %(host)s and was forgotten: write the key of the new"
                " address, if it wants one."
            )
            host = urlsplit(form.initial["url"]).netloc
            self.message_user(request, words % {"host": host}, messages.WARNING)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"instructions": INSTRUCTIONS} | initial

    def get_queryset(self, request: HttpRequest) -> QuerySet[Classifier]:
        rows: QuerySet[Classifier] = super().get_queryset(request)
        return rows.annotate(num_rules=Count("rules"))

    @admin.display(description=_("rules"), ordering="num_rules")
    def num_rules(self, row: Any) -> int:
        return int(row.num_rules)
