"""What is kept for how long, and what the next purge takes: for operators to read."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from controller import retention

# Of what the task worker has done; both roles have it.
SEE = "controller.view_processheard"
# Counting tens of millions of rows would take longer than anybody waits for a page.
COUNTED = 10_000


@admin.site.admin_view
def retention_page(request: HttpRequest) -> HttpResponse:
    """Every kind with its setting, its rows, and those that are due. Three queries for
    each kind, of which none counts more than COUNTED rows."""
    if not request.user.has_perm(SEE):
        raise PermissionDenied
    purged_at = retention.purged_at()
    context = {
        **admin.site.each_context(request),
        "title": _("Retention"),
        "previews": [
            (retention.preview(kind, COUNTED), purged_at.get(kind.name))
            for kind in retention.kinds()
        ],
        "counted": COUNTED,
    }
    return TemplateResponse(request, "controller/admin/retention.html", context)
