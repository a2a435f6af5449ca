"""The frame in which the page has diagrams drawn."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

# Without our origin wherever it is opened, and without any network. The renderer needs
# inline styles, which no page of ours may have.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
)


@require_safe
@cache_control(public=True, max_age=60)
@xframe_options_sameorigin
def diagram_frame(request: HttpRequest) -> HttpResponse:
    """A page that draws what it is sent and knows nobody: the same for everyone."""
    response = render(request, "chat/diagrams.html")
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
