"""Under which address others reach this site."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest


def site_origin(request: HttpRequest) -> str:
    """Scheme, host and port."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def site_address(request: HttpRequest) -> str:
    """The origin and, behind a proxy that adds one, the prefix; no slash at the end."""
    return site_origin(request) + settings.ROOT_PATH


def at_public_url(url: str) -> str:
    """The same page under PUBLIC_URL, where there is one: a letter's reader may not
    reach the host of the request that it comes from, and who asked chose that host."""
    if not settings.PUBLIC_URL:
        return url
    return settings.PUBLIC_URL + urlsplit(url)._replace(scheme="", netloc="").geturl()
