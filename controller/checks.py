"""System checks: combinations of settings that would be unsafe or would not work."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from controller.limits.webhook import is_usable_secret
from controller.site_settings import logo_type


@register(Tags.security)
def field_keys_are_usable(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Without a right key no engine key can be stored or read: no worker could join."""
    wrong = [
        position
        for position, key in enumerate(settings.FIELD_KEYS, start=1)
        if not _is_fernet_key(key)
    ]
    if settings.FIELD_KEYS and not wrong:
        return []
    which = f"Number {wrong[0]} of FIELD_KEYS" if wrong else "FIELD_KEYS"
    return [
        Error(
            f"{which} is not 32 bytes in URL-safe base64.",
            hint="Make one with: python -c 'from cryptography.fernet import Fernet;"
            " print(Fernet.generate_key().decode())'. The first writes, all read: put"
            " a new one in front and keep the old until `rotate_field_keys` has run.",
            id="controller.E001",
        )
    ]


@register()
def workers_survive_between_heartbeats(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.HEARTBEAT_EXPIRY > settings.HEARTBEAT_INTERVAL:
        return []
    return [
        Error(
            f"HEARTBEAT_EXPIRY ({settings.HEARTBEAT_EXPIRY.total_seconds():g} s) is not"
            " longer than HEARTBEAT_INTERVAL"
            f" ({settings.HEARTBEAT_INTERVAL.total_seconds():g} s):"
            " every worker would expire before its next heartbeat.",
            hint="Let it be three intervals or more.",
            id="controller.E002",
        )
    ]


@register()
def public_url_is_an_origin(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Cookies and the check of where a form came from go by origins."""
    parts = urlsplit(settings.PUBLIC_URL)
    is_origin = parts.scheme in {"http", "https"} and parts.netloc and not parts.path
    if not settings.PUBLIC_URL or is_origin:
        return []
    return [
        Error(
            f"PUBLIC_URL={settings.PUBLIC_URL!r} is not a scheme with a host.",
            hint="Write https://host or https://host:8443; a path below which the"
            " site lives is ROOT_PATH.",
            id="controller.E003",
        )
    ]


@register(Tags.security)
def guests_stay_on_this_machine(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.OPEN_TO_GUESTS or _is_this_machine(settings.PUBLIC_URL):
        return []
    return [
        checks.Warning(
            "OPEN_TO_GUESTS is on, and PUBLIC_URL"
            f" ({settings.PUBLIC_URL}) is reached from elsewhere:"
            " anybody can use the models without a key.",
            hint="Unset OPEN_TO_GUESTS and give out API keys.",
            id="controller.W001",
        )
    ]


@register(Tags.security)
def proxies_are_named(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not any(network.prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        return []
    return [
        checks.Warning(
            "TRUSTED_PROXIES holds the whole internet: every client can choose the"
            " address that limits and logs see.",
            hint="List the addresses of your own proxies only.",
            id="controller.W002",
        )
    ]


@register(Tags.security)
def debug_stays_at_home(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.DEBUG or _is_this_machine(settings.PUBLIC_URL):
        return []
    return [
        checks.Warning(
            f"DEBUG is on, and PUBLIC_URL ({settings.PUBLIC_URL}) is reached from"
            " elsewhere: error pages show settings and source.",
            hint="Unset DEBUG.",
            id="controller.W003",
        )
    ]


@register()
def verification_letters_can_be_sent(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory" or settings.EMAIL_HOST:
        return []
    return [
        checks.Warning(
            "EMAIL_VERIFICATION is mandatory, and no EMAIL_HOST is set: letters are"
            " only printed, so nobody new can sign in.",
            hint="Set EMAIL_HOST, or EMAIL_VERIFICATION=none.",
            id="controller.W004",
        )
    ]


@register(Tags.security)
def alerts_are_signed(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Unsigned, a receiver could not tell them from anybody's."""
    if not settings.ALERT_WEBHOOK_URL or is_usable_secret(
        settings.ALERT_WEBHOOK_SECRET
    ):
        return []
    return [
        Error(
            "ALERT_WEBHOOK_URL is set, and ALERT_WEBHOOK_SECRET is not 24 bytes or more"
            " in base64.",
            hint='Make one with: python -c \'import base64, secrets; print("whsec_" +'
            " base64.b64encode(secrets.token_bytes(32)).decode())'",
            id="controller.E004",
        )
    ]


@register()
def alert_webhook_is_an_address(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    parts = urlsplit(settings.ALERT_WEBHOOK_URL)
    is_address = parts.scheme in {"http", "https"} and parts.hostname
    if not settings.ALERT_WEBHOOK_URL or is_address:
        return []
    return [
        Error(
            "ALERT_WEBHOOK_URL is not the address of a web server.",
            hint="Write it whole, such as https://alerts.example.org/switchyard.",
            id="controller.E005",
        )
    ]


@register()
def logo_is_an_image(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    path = settings.SITE_LOGO
    if not path or (Path(path).is_file() and logo_type() is not None):
        return []
    return [
        Error(
            f"SITE_LOGO={path!r} is no file of an image.",
            hint="Name an SVG, PNG, JPEG, WebP or GIF that this process can read.",
            id="controller.E010",
        )
    ]


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _is_this_machine(url: str) -> bool:
    """Whether the address, if there is one, leads to a loopback interface."""
    host = urlsplit(url).hostname
    if host is None or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
