"""What makes the site an app that can be installed: its manifest, the service worker
and the page that it shows without a network. All are the same for everyone."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

# What the page without a network needs; nothing of anybody's is ever kept.
OFFLINE_FILES = (
    "chat/css/base.css",
    "chat/css/account.css",
    "chat/js/theme.js",
    "chat/js/offline.js",
    "chat/icon.svg",
)

_public = cache_control(public=True, max_age=60)


@require_safe
@_public
def manifest(request: HttpRequest) -> JsonResponse:
    """How the installed app is called, looks and begins."""
    home = reverse("chat:home")
    fields = {
        "name": settings.SITE_NAME,
        "short_name": settings.SITE_NAME,
        "description": _("Chat with the models of this site."),
        "id": home,
        "start_url": home,
        "scope": home,
        "display": "standalone",
        "theme_color": "#0f766e",
        "background_color": "#ffffff",
        "icons": [
            _icon("icon.svg", "any", "image/svg+xml"),
            _icon("icons/icon-192.png", "192x192"),
            _icon("icons/icon-512.png", "512x512"),
            _icon("icons/maskable-512.png", "512x512", purpose="maskable"),
        ],
    }
    return JsonResponse(fields, content_type="application/manifest+json")


def _icon(
    name: str, sizes: str, kind: str = "image/png", **more: str
) -> dict[str, str]:
    return {"src": static(f"chat/{name}"), "sizes": sizes, "type": kind} | more


@require_safe
@cache_control(no_cache=True)
def service_worker(request: HttpRequest) -> HttpResponse:
    """The script that browsers run beside the pages, in the reader's language."""
    context = {
        "kept": [reverse("chat:offline"), *(static(name) for name in OFFLINE_FILES)],
    }
    kind = "text/javascript; charset=utf-8"
    return render(request, "chat/worker.js", context, content_type=kind)


@require_safe
@cache_control(no_cache=True)
def offline(request: HttpRequest) -> HttpResponse:
    """The page that is shown while there is no network."""
    return render(request, "chat/offline.html")
