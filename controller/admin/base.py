"""What the console's pages have in common."""

from collections.abc import Iterable
from typing import Any, ClassVar

from auditlog.registry import auditlog
from django.contrib.admin.models import LogEntry
from django.db import models, transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from controller.admin import empty_lists
from controller.audit.events import record, record_deletions
from controller.models import Revision


class ConsoleAdmin(ModelAdmin):  # type: ignore[misc]  # django-unfold has no types
    """A page of the console."""

    list_fullwidth = True
    list_per_page = 50
    warn_unsaved_form = True

    @property
    def words_when_empty(self) -> Any:
        """What the list says while it has no row."""
        return empty_lists.words_of(self.model)

    def log_change(
        self, request: HttpRequest, obj: models.Model, message: Any
    ) -> LogEntry:
        """The row's history; what an action did, in words, is told to the audit log
        too. (Forms leave a list of fields: those changes are in it already.)"""
        entry: LogEntry = super().log_change(request, obj, message)
        if isinstance(message, str):
            record([obj], message)
        return entry

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """The history, and the audit log."""
        self.audit_deletions(queryset)
        return super().log_deletions(request, queryset)

    def audit_deletions(self, rows: Iterable[Any]) -> None:
        """Tell the audit log of rows that it does not watch by itself."""
        if not auditlog.contains(self.model):
            record_deletions(rows)


class RecordAdmin(ConsoleAdmin):
    """Rows that tell what happened: nobody writes or changes them by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LongRecordAdmin(RecordAdmin):
    """Too many such rows to count for each page."""

    paginator = InfinitePaginator
    show_full_result_count = False


class KeptRecordAdmin(LongRecordAdmin):
    """Those that nobody deletes either, but retention."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AnnouncingAdmin(ConsoleAdmin):
    """Saving and deleting here reaches every web process: they cache these rows."""

    announced_topic: ClassVar[str]  # of Revision

    def save_model(
        self,
        request: HttpRequest,
        obj: models.Model,
        form: "ModelForm[Any]",
        change: bool,
    ) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            Revision.bump(self.announced_topic)

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        with transaction.atomic():
            super().delete_model(request, obj)
            Revision.bump(self.announced_topic)

    def delete_queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> None:
        with transaction.atomic():
            super().delete_queryset(request, queryset)
            Revision.bump(self.announced_topic)


class IssuingAdmin(ConsoleAdmin):
    """Rows with a secret that is shown once: in the answer to the POST that made them.

    It is never put into a message, a session or a redirect, which would store it.
    """

    issued_template: ClassVar[str]

    def issue(
        self, request: HttpRequest, fields: dict[str, Any]
    ) -> tuple[models.Model, str]:
        """(the stored row, its secret), of the form's cleaned fields."""
        raise NotImplementedError

    def issued_context(
        self, request: HttpRequest, obj: models.Model, secret: str
    ) -> dict[str, Any]:
        """What the page that shows the secret needs besides."""
        return {}

    def save_model(
        self,
        request: HttpRequest,
        obj: models.Model,
        form: "ModelForm[Any]",
        change: bool,
    ) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        issued, secret = self.issue(request, form.cleaned_data)
        obj.pk = issued.pk
        obj.refresh_from_db()
        # Between here and response_add there is only the request to carry it.
        request.issued_secret = secret  # type: ignore[attr-defined]

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        one_button = {
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
        }
        answer: HttpResponse = super().add_view(
            request, form_url, {**one_button, **(extra_context or {})}
        )
        return answer

    def response_add(
        self,
        request: HttpRequest,
        obj: models.Model,
        post_url_continue: str | None = None,
    ) -> HttpResponse:
        secret: str = request.issued_secret  # type: ignore[attr-defined]
        name = self.opts.model_name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{str(self.opts.verbose_name).capitalize()} {obj}",
            "secret": secret,
            "row": obj,
            "list_url": reverse(f"admin:controller_{name}_changelist"),
            **self.issued_context(request, obj, secret),
        }
        return TemplateResponse(
            request,
            self.issued_template,
            context,
            headers={"Cache-Control": "no-store"},
        )


class NotedSecretAdmin(IssuingAdmin):
    """Those of which the note alone changes once they are made. They are revoked, not
    deleted: then they open nothing, and what they were used for stays to be seen."""

    form_fields: ClassVar[tuple[str, ...]]  # to make one
    kept_fields: ClassVar[tuple[str, ...]]  # of one that was made, besides the note

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.form_fields if obj is None else ("note", *self.kept_fields)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Any = None
    ) -> tuple[str, ...]:
        return () if obj is None else self.kept_fields

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if change:
            kwargs |= {"form": ModelForm, "fields": ["note"]}
        return super().get_form(request, obj, change=change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
