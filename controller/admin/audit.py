"""The audit log, to be read and taken home."""

import json
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from controller.admin.base import KeptRecordAdmin
from controller.audit import events
from controller.audit.exports import action_in_words, export_response

COLOURS = {
    "create": "success",
    "update": "info",
    "delete": "danger",
    **dict.fromkeys(events.REFUSALS, "warning"),
    "event": "",  # django-unfold leaves out the words of what has no entry
}
SHOWN_CHANGES = 3  # in a list's cell; all of them are on the entry's page
MAX_VALUE = 60
EMPTY = ("", "None")

admin.site.unregister(LogEntry)


class KindFilter(admin.SimpleListFilter):
    """Of the models that are watched: asking the log would read all of it."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        kinds = ContentType.objects.get_for_models(*auditlog.get_models()).items()
        return sorted((str(kind.pk), model._meta.verbose_name) for model, kind in kinds)

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LogEntry]
    ) -> QuerySet[LogEntry]:
        chosen = self.value() or ""
        return queryset.filter(content_type=chosen) if chosen.isdigit() else queryset


class ActionFilter(admin.SimpleListFilter):
    title = _("action")
    parameter_name = "did"
    lookup_of = {
        "create": {"action": LogEntry.Action.CREATE},
        "update": {"action": LogEntry.Action.UPDATE},
        "delete": {"action": LogEntry.Action.DELETE},
        "sign_in": {"additional_data__event": events.SIGNED_IN},
        "sign_out": {"additional_data__event": events.SIGNED_OUT},
        "refused": {"additional_data__event__in": events.REFUSALS},
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("create", _("created")),
            ("update", _("changed")),
            ("delete", _("deleted")),
            ("sign_in", _("signed in")),
            ("sign_out", _("signed out")),
            ("refused", _("sign-in refused")),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LogEntry]
    ) -> QuerySet[LogEntry]:
        return queryset.filter(**self.lookup_of.get(self.value() or "", {}))


@admin.register(LogEntry)
class AuditAdmin(KeptRecordAdmin):
    """Read only, for everybody: retention alone deletes."""

    list_display = (
        "timestamp",
        "actor_and_address",
        "shown_action",
        "shown_object",
        "changes_in_short",
    )
    list_select_related = ("actor", "content_type")
    list_filter = (ActionFilter, KindFilter, "timestamp")
    search_fields = ("object_repr", "actor__username", "remote_addr__exact")
    search_help_text = _("What was changed, who did it, or a whole address")
    fields = readonly_fields = (
        "timestamp",
        "shown_actor",
        "remote_addr",
        "action_in_full",
        "content_type",
        "object_pk",
        "object_repr",
        "all_changes",
    )
    actions = None
    actions_list = ("as_csv", "as_json_lines")
    ordering = ("-id",)
    sortable_by = ()

    def get_urls(self) -> list[URLPattern]:
        exports = [
            path(
                f"export.{kind}",
                self.admin_site.admin_view(self.export),
                {"kind": kind},
                name=f"audit_export_{kind}",
            )
            for kind in ("csv", "jsonl")
        ]
        return exports + list(super().get_urls())

    def export(self, request: HttpRequest, kind: str) -> StreamingHttpResponse:
        """What the list shows with these filters, as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        listed = self.get_changelist_instance(request).get_queryset(request)
        return export_response(listed, kind)

    @action(description=_("Download as CSV"), icon="download", permissions=["view"])  # type: ignore[untyped-decorator]
    def as_csv(self, request: HttpRequest) -> HttpResponseRedirect:
        return _export(request, "csv")

    @action(  # type: ignore[untyped-decorator]
        description=_("Download as JSON lines"), icon="download", permissions=["view"]
    )
    def as_json_lines(self, request: HttpRequest) -> HttpResponseRedirect:
        return _export(request, "jsonl")

    @admin.display(description=_("who"))
    def shown_actor(self, entry: LogEntry) -> str:
        return entry.actor.get_username() if entry.actor else "-"

    @display(description=_("who"), header=True)  # type: ignore[untyped-decorator]
    def actor_and_address(self, entry: LogEntry) -> tuple[str, str]:
        return self.shown_actor(entry), entry.remote_addr or ""

    @display(description=pgettext_lazy("audit", "what"), header=True)  # type: ignore[untyped-decorator]
    def shown_object(self, entry: LogEntry) -> tuple[str, str]:
        model = entry.content_type.model_class()
        kind = model._meta.verbose_name if model else entry.content_type.model
        return entry.object_repr, str(kind)

    @display(description=_("did"), label=COLOURS)  # type: ignore[untyped-decorator]
    def shown_action(self, entry: LogEntry) -> tuple[str, str]:
        words = action_in_words(entry)
        is_event = entry.action == LogEntry.Action.ACCESS
        kind = words if is_event else ACTIONS[entry.action]
        return kind if kind in COLOURS else "event", gettext(words)

    @admin.display(description=_("did"))
    def action_in_full(self, entry: LogEntry) -> str:
        return gettext(action_in_words(entry))

    @admin.display(description=_("changes"))
    def changes_in_short(self, entry: LogEntry) -> str:
        lines = [f"{name}: {text}" for name, text in _changes(entry)]
        more = len(lines) - SHOWN_CHANGES
        shown = "; ".join(lines[:SHOWN_CHANGES])
        return f"{shown} (+{more})" if more > 0 else shown or "-"

    @admin.display(description=_("changes"))
    def all_changes(self, entry: LogEntry) -> str:
        return format_html_join("", "<p>{}: {}</p>", _changes(entry)) or "-"


ACTIONS = {
    LogEntry.Action.CREATE: "create",
    LogEntry.Action.UPDATE: "update",
    LogEntry.Action.DELETE: "delete",
    LogEntry.Action.ACCESS: "access",
}


def _export(request: HttpRequest, kind: str) -> HttpResponseRedirect:
    where = reverse(f"admin:audit_export_{kind}")
    return HttpResponseRedirect(f"{where}?{request.GET.urlencode()}")


def _changes(entry: LogEntry) -> list[tuple[str, str]]:
    """(field, before → after) of each, in the order of the form; of a new row what it
    is and of a deleted one what it was, without its empty fields and its key."""
    is_change = entry.action == LogEntry.Action.UPDATE
    is_gone = entry.action == LogEntry.Action.DELETE
    found = []
    for name, change in _in_order(entry):
        if isinstance(change, list) and len(change) == 2:
            before, after = (_short(value) for value in change)
            if is_change:
                text = f"{before} → {after}"
            else:
                text = before if is_gone else after
                if name == "id" or text in EMPTY:
                    continue
        else:  # a many-to-many field
            text = _short(json.dumps(change))
        found.append((name, text))
    return found


def _in_order(entry: LogEntry) -> list[tuple[str, Any]]:
    """The changes, which are stored in any order, in that of the model's fields."""
    model = entry.content_type.model_class()
    names = [field.name for field in model._meta.get_fields()] if model else []
    places = {name: place for place, name in enumerate(names)}
    changes = (entry.changes or {}).items()
    return sorted(changes, key=lambda change: places.get(change[0], len(places)))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"
