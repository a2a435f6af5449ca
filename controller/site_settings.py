"""What every page knows of the site: its name, its logo, and what is announced."""

import mimetypes
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from controller.models import Announcement

LOGO_TYPES = {
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
}


def site(request: HttpRequest) -> dict[str, Any]:
    """Context of every page. The announcements cost one query where they are shown."""
    return {
        "site_name": settings.SITE_NAME,
        "logo_url": logo_url(),
        "announcements": Announcement.objects.current,
    }


def logo_url() -> str:
    """Where the operators' own logo is; empty for ours."""
    return reverse("site_logo") if settings.SITE_LOGO else ""


def logo_type() -> str | None:
    """The content type of SITE_LOGO; None for a file that is no image."""
    kind, _encoding = mimetypes.guess_type(settings.SITE_LOGO)
    return kind if kind in LOGO_TYPES else None


@require_safe
@cache_control(public=True, max_age=300)
def site_logo(request: HttpRequest) -> HttpResponse:
    """The file SITE_LOGO. An SVG runs no script, not even where it is opened alone."""
    path, kind = Path(settings.SITE_LOGO), logo_type()
    if not settings.SITE_LOGO or kind is None or not path.is_file():
        raise Http404
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    headers = {"Content-Security-Policy": policy}
    return HttpResponse(path.read_bytes(), content_type=kind, headers=headers)
