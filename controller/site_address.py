"""Under which address others reach this site."""

from django.conf import settings
from django.http import HttpRequest


def site_origin(request: HttpRequest) -> str:
    """Scheme, host and port."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def site_address(request: HttpRequest) -> str:
    """The origin and, behind a proxy that adds one, the prefix; no slash at the end."""
    return site_origin(request) + settings.ROOT_PATH
