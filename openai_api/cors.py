"""CORS on `/v1`: what browsers are told of the sites whose pages may call it.

django-cors-headers reads settings, which are the same for every site and need a
restart. Here each answer goes by the row for its request's origin, out of memory.
"""

import re

from corsheaders import middleware as corsheaders
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from controller.cors import OriginRule
from controller.gateway import gateway
from controller.models.origins import ANY, METHODS

PREFIX = "/v1/"
# What scripts may read of an answer, besides its body.
EXPOSED = ", ".join(
    [
        "x-request-id",
        "x-switchyard-explain",
        "x-switchyard-fallback",
        "x-switchyard-overhead-ms",
        "x-switchyard-queue-expected-ms",
        "x-switchyard-queue-ms",
        "x-switchyard-queue-position",
        "retry-after",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
    ]
)
# Seconds for which a browser need not ask again. A row that is deleted acts at once all
# the same: scripts cannot read an answer that does not bear the headers itself.
PREFLIGHT_MAX_AGE = "600"
MAX_REQUESTED = 2000  # characters of a preflight's list of headers
_HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.A)


class CorsMiddleware(corsheaders.CorsMiddleware):
    """Costs two look-ups for a request without an `Origin`, as those of servers are."""

    def is_enabled(self, request: HttpRequest) -> bool:
        return "HTTP_ORIGIN" in request.META and request.path_info.startswith(PREFIX)

    def add_response_headers(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        rules = gateway().origins
        if not rules or not request.path_info.startswith(PREFIX):
            return response
        # To those without an origin too: a cache must not give their answer to others.
        response.headers["Vary"] = "origin"
        origin = request.META.get("HTTP_ORIGIN", "")
        if origin and (rule := rules.find(origin)):
            for name, value in _headers(rule, request).items():
                response.headers[name] = value
        return response


def _headers(rule: OriginRule, request: HttpRequest) -> dict[str, str]:
    """What the rule lets a browser do, told to the request's origin."""
    origin = request.META["HTTP_ORIGIN"]
    headers = {
        corsheaders.ACCESS_CONTROL_ALLOW_ORIGIN: ANY if rule.pattern == ANY else origin,
        corsheaders.ACCESS_CONTROL_EXPOSE_HEADERS: EXPOSED,
    }
    if rule.allows_credentials:
        headers[corsheaders.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
    if request.method == "OPTIONS":
        headers |= {
            corsheaders.ACCESS_CONTROL_ALLOW_METHODS: _methods(rule),
            corsheaders.ACCESS_CONTROL_ALLOW_HEADERS: _request_headers(rule, request),
            corsheaders.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_MAX_AGE,
        }
    return headers


def _methods(rule: OriginRule) -> str:
    return ", ".join(METHODS if ANY in rule.methods else rule.methods)


def _request_headers(rule: OriginRule, request: HttpRequest) -> str:
    """The rule's headers; where it has a star those that the browser asked for, since a
    star itself would leave out `Authorization`."""
    if ANY not in rule.headers:
        return ", ".join(rule.headers)
    asked = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
    is_list = len(asked) <= MAX_REQUESTED and _HEADER_NAMES.fullmatch(asked)
    return asked if is_list else ""
