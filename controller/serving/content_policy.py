"""What a browser may run and load for a page, said with each page.

https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP explains the directives.
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

# A page runs no script but the site's own files, whatever a model writes. Images of
# other sites would tell them what was asked.
PAGES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "worker-src": "'self'",
    "frame-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
# The console's Alpine.js evaluates what stands in its own attributes, and its colours
# are a style within the page. Scripts within pages, `onclick` and the like do not run
# there either, and nothing comes from or goes to another site.
CONSOLE = PAGES | {
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "object-src": "'none'",
}


class ContentPolicyMiddleware(MiddlewareMixin):
    """Gives a policy to each page that has none of its own."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", policy_for(request))
        return response


def policy_for(request: HttpRequest) -> str:
    """The header's value; that of an address which is unknown is the strict one."""
    route = request.resolver_match.route if request.resolver_match else ""
    directives = CONSOLE if route.startswith("admin/") else PAGES
    if route.startswith("accounts/") and _has_providers():
        # Chromium holds redirects of forms to it too, and such a one leads to the
        # provider, at an address that only the provider's own metadata tells.
        directives = {k: v for k, v in directives.items() if k != "form-action"}
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _has_providers() -> bool:
    """Whether people may sign in by another site."""
    configured = settings.SOCIALACCOUNT_PROVIDERS.values()
    return any(provider["APPS"] for provider in configured)
