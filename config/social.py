"""Providers of sign-in, by the environment: OpenID Connect, and common social ones.

OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET name one OpenID Connect provider;
OIDC_PROVIDERS, a JSON list, several. GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET turn on
GitHub; GitLab, Google and Microsoft likewise.
"""

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from config import env

SOCIAL = ("github", "gitlab", "google", "microsoft")
# Of an entry of OIDC_PROVIDERS; `name` is what the button says.
REQUIRED = ("id", "issuer", "client_id", "client_secret")
KNOWN = {*REQUIRED, "name"}


def providers() -> tuple[dict[str, Any], list[str]]:
    """(django-allauth's SOCIALACCOUNT_PROVIDERS, the apps that it needs for them)."""
    configured: dict[str, Any] = {
        "openid_connect": {
            "APPS": [_oidc_app(entry) for entry in _oidc_entries()],
            "OAUTH_PKCE_ENABLED": True,
        }
    }
    apps = []
    for name in SOCIAL:
        if app := _social_app(name):
            configured[name] = {"APPS": [app], "OAUTH_PKCE_ENABLED": True}
            apps.append(f"allauth.socialaccount.providers.{name}")
    return configured, apps


def _oidc_entries() -> list[dict[str, Any]]:
    entries = _parse_entries(env.secret("OIDC_PROVIDERS"))
    if issuer := env.text("OIDC_ISSUER"):
        one = {
            "id": "oidc",
            "name": env.text("OIDC_NAME", "Single sign-on"),
            "issuer": issuer,
            "client_id": _needed("OIDC_CLIENT_ID", "OIDC_ISSUER"),
            "client_secret": _needed("OIDC_CLIENT_SECRET", "OIDC_ISSUER"),
        }
        entries.insert(0, one)
    return entries


def _parse_entries(raw: str) -> list[dict[str, Any]]:
    """The entries of OIDC_PROVIDERS. An error never shows them: they hold secrets."""
    if not raw:
        return []
    try:
        entries = json.loads(raw)
    except ValueError:
        raise ImproperlyConfigured("OIDC_PROVIDERS is not JSON.") from None
    if not isinstance(entries, list) or not all(_is_whole(each) for each in entries):
        raise ImproperlyConfigured(
            "OIDC_PROVIDERS is not a list of objects with the texts "
            f"{', '.join(REQUIRED)} and, if you like, name."
        )
    return entries


def _is_whole(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() <= KNOWN
        and all(isinstance(entry.get(name), str) and entry[name] for name in REQUIRED)
    )


def _oidc_app(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "provider_id": entry["id"],
        "name": entry.get("name") or entry["id"],
        "client_id": entry["client_id"],
        "secret": entry["client_secret"],
        "settings": {"server_url": entry["issuer"].rstrip("/")},
    }


def _social_app(name: str) -> dict[str, Any] | None:
    variable = f"{name.upper()}_CLIENT_ID"
    client_id = env.text(variable)
    if not client_id:
        return None
    app: dict[str, Any] = {
        "client_id": client_id,
        "secret": _needed(f"{name.upper()}_CLIENT_SECRET", variable),
    }
    if name == "microsoft":
        app["settings"] = {"tenant": env.text("MICROSOFT_TENANT", "organizations")}
    if name == "gitlab" and (url := env.text("GITLAB_URL")):
        app["settings"] = {"gitlab_url": url.rstrip("/")}
    return app


def _needed(name: str, other: str) -> str:
    value = env.secret(name)
    if not value:
        raise ImproperlyConfigured(f"{other} is set, and {name} is not.")
    return value
