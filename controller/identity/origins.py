"""Browser origins, and the patterns that operators and users write for them.

An origin is a scheme, a host and perhaps a port, as browsers send it (RFC 6454). A
pattern is an origin, or one whose first label is a star: `https://*.example.com` is
every host with exactly one label before `.example.com`, and never `example.com` itself.
Matching is two look-ups in a dictionary, however many patterns there are.
"""

import re
from collections.abc import Container

from django.utils.translation import gettext as _

EVERYONE = "*"
MAX_LENGTH = 255
DEFAULT_PORTS = {"http": ":80", "https": ":443"}

# Browsers send hosts in lower case, and other alphabets as `xn--`.
_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://([a-z0-9*._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?"
)
_LABEL = re.compile(r"[a-z0-9_-]+")


def parse_pattern(text: str) -> str:
    """The pattern, stripped. Raises ValueError, with the words to show, if it is none.

    `*` alone is not taken here: only rows of CORS may mean everyone.
    """
    pattern = text.strip()
    if problem := _problem(pattern):
        raise ValueError(f"{pattern!r}: {problem}")
    return pattern


def _problem(pattern: str) -> str:
    """What is wrong with it, in words for whoever typed it; "" if nothing is."""
    if pattern == EVERYONE:
        return _("that is every site; name the ones that you mean.")
    if pattern == "null":
        return _("files and sandboxed frames of anybody have this origin.")
    match = _ORIGIN.fullmatch(pattern)
    if match is None or len(pattern) > MAX_LENGTH:
        return _(
            "write scheme and host in lower case, a port if it is unusual, and nothing"
            " after them, as browsers do: https://app.example.com"
        )
    scheme, host, port = match.groups()
    if port and port == DEFAULT_PORTS.get(scheme):
        return _("browsers leave out the usual port; write it without %s.") % port
    return _problem_of_host(host)


def _problem_of_host(host: str) -> str:
    first, _dot, parent = host.partition(".")
    if "*" in parent or ("*" in first and first != "*"):
        return _("a star may only be the whole first label: https://*.example.com")
    if first == "*" and (parent != "localhost" and "." not in parent.strip(".")):
        return _("this would be every site below a top-level domain.")
    if not host.startswith("[") and not all(host.split(".")):
        return _("two dots stand together, or one stands at an end.")
    return ""


def with_star(origin: str) -> str:
    """The pattern with a star that this origin would match; "" for a host of one
    label, and for what no browser sends."""
    scheme, separator, rest = origin.partition("://")
    label, dot, parent = rest.partition(".")
    if not separator or not dot or not _LABEL.fullmatch(label):
        return ""
    return f"{scheme}://*.{parent}"


def matches(origin: str, patterns: Container[str]) -> bool:
    """Whether one of the patterns, of which `*` has no meaning here, is for it."""
    if "*" in origin:
        return False  # a pattern is no origin
    return origin in patterns or with_star(origin) in patterns
