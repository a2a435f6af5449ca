"""Where a worker says it is, made sure of: resolved once, inside the allowed networks.

A worker's address is a URL that somebody else chose and that we then connect to, so it
is read strictly (a form that two parsers could read in two ways is refused), every
address that its name resolves to is checked, and later connections go to the checked
address, never to the name again.
"""

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from controller.fleet.errors import WorkerRefused
from workers.protocol import RefusalCode

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOKUP_TIMEOUT_SECONDS = 5.0

_HOST_NAME = re.compile(
    r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII
)
_BRACKETED = re.compile(r"\[[^\[\]]*\](:[0-9]*)?", re.ASCII)
# A last label that a resolver may read as a number, decimal, octal or hexadecimal.
_NUMERIC_END = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", re.ASCII)

# No worker lives here, whatever ALLOWED_WORKER_NETWORKS says.
NEVER_ALLOWED = {
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "the address of a cloud's metadata service": (
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::254/128",  # Amazon
        "fd20:ce::254/128",  # Google
    ),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "multicast or broadcast": ("224.0.0.0/4", "255.255.255.255/32", "ff00::/8"),
}
_NEVER = [
    (ip_network(network), kind)
    for kind, networks in NEVER_ALLOWED.items()
    for network in networks
]
_COMPATIBLE = ip_network("::/96")
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class ResolvedAddress:
    """A worker's address after the checks: what to call it, and where to connect."""

    scheme: str
    host: str
    """As claimed: for Host, SNI and the certificate. IPv6 without brackets."""
    port: int
    ip: str
    """Connect here."""

    @property
    def url(self) -> str:
        """`scheme://host:port`, the same text for every way to write the address."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"

    @property
    def host_header(self) -> str:
        """What HTTP's Host says: without the port where it is the scheme's own."""
        if self.port == DEFAULT_PORTS[self.scheme]:
            return _bracketed(self.host)
        return f"{_bracketed(self.host)}:{self.port}"


async def resolve(address: str, allowed: Sequence[Network]) -> ResolvedAddress:
    """The address, resolved to one IP, IPv4 where there is a choice.

    Raises `WorkerRefused`: `bad_request` for what is not a plain http(s) address,
    `address_unresolvable`, and `address_not_allowed` where any of the addresses that
    the name resolves to lies outside of `allowed`.
    """
    parts = _split(address)
    host = _host(address, parts)
    port = _port(address, parts)
    found = [_plain(ip) for ip in await _lookup(address, host, port)]
    for ip in found:
        _check(address, ip, allowed)
    # `localhost` gives ::1 first on many machines, while servers there listen on IPv4.
    chosen = min(found, key=lambda ip: ip.version)
    return ResolvedAddress(parts.scheme, host, port, str(chosen))


def path_on_engine(base_path: str, path: str) -> str:
    """Where an engine whose API begins at `base_path` has what others have at `path`.

    `/v1/chat/completions` lies below the base path, `/tokenize` beside it.
    """
    if path.startswith("/v1/"):
        return base_path + path.removeprefix("/v1")
    return base_path.removesuffix("/v1") + path


def _refuse(address: str, problem: str) -> NoReturn:
    raise WorkerRefused(
        RefusalCode.BAD_REQUEST,
        f"The worker address {address!r} {problem}. Write it as http://host:port.",
    )


def _split(address: str) -> SplitResult:
    # urlsplit drops control characters without a word; others do not.
    if not address.isascii() or not address.isprintable() or " " in address:
        _refuse(
            address,
            "holds spaces or characters that are not ASCII"
            " (an international name is written xn--…)",
        )
    try:
        parts = urlsplit(address)
    except ValueError:
        _refuse(address, "is not a URL")
    if parts.scheme not in DEFAULT_PORTS:
        _refuse(address, "starts with neither http:// nor https://")
    if "@" in parts.netloc:
        _refuse(address, "holds a user name or password")
    if parts.path.strip("/") or "?" in address or "#" in address:
        _refuse(address, "goes on after the port")
    return parts


def _host(address: str, parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    if "[" in parts.netloc or ":" in host:
        # urlsplit would read the host of "evil[::1]:80" as ::1.
        if not _BRACKETED.fullmatch(parts.netloc):
            _refuse(address, "has no valid IPv6 address")
        return _ipv6_literal(address, host)
    host = host.removesuffix(".")
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        _refuse(address, "has no valid host name")
    # 0x7f.1, 2130706433 and 0177.0.0.1 are 127.0.0.1 to some resolvers only.
    if _NUMERIC_END.fullmatch(host):
        try:
            return str(IPv4Address(host))
        except ValueError:
            _refuse(address, "writes an IPv4 address in an unusual form")
    return host


def _ipv6_literal(address: str, host: str) -> str:
    try:
        literal = IPv6Address(host)
    except ValueError:
        _refuse(address, "has no valid IPv6 address")
    if literal.scope_id is not None:
        _refuse(address, "holds a zone, which means something on one machine only")
    return str(literal)


def _port(address: str, parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        _refuse(address, "has no valid port")
    if port == 0:
        _refuse(address, "has port 0")
    return port or DEFAULT_PORTS[parts.scheme]


async def _lookup(address: str, host: str, port: int) -> list[Address]:
    """What the name resolves to, at least one; a literal is itself."""
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as exc:
        raise WorkerRefused(
            RefusalCode.ADDRESS_UNRESOLVABLE,
            f"The controller cannot resolve {host!r} of the worker address {address!r}."
            " Give the worker an address that the controller's machine knows.",
        ) from exc
    return [ip_address(str(info[4][0]).partition("%")[0]) for info in found]


def _plain(ip: Address) -> Address:
    """The IPv4 address that a mapped IPv6 one (::ffff:127.0.0.1) is, or `ip` itself."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def _carried(ip: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses to which a tunnel or translator may take what goes to `ip`.

    6to4 (RFC 3056), Teredo (RFC 4380), NAT64 (RFC 6052, RFC 8215), and the old
    compatible form ::127.0.0.1 (RFC 4291, 2.5.5.1).
    """
    if not isinstance(ip, IPv6Address):
        return
    if ip.sixtofour:
        yield ip.sixtofour
    if ip.teredo:
        yield from ip.teredo
    is_compatible = ip in _COMPATIBLE and int(ip) > 1  # not :: and not ::1
    if is_compatible or any(ip in network for network in _NAT64):
        yield IPv4Address(int(ip) & 0xFFFFFFFF)


def _check(address: str, ip: Address, allowed: Sequence[Network]) -> None:
    """Raise unless `ip`, and all that it carries, may be a worker's."""
    for form in (ip, *_carried(ip)):
        shown = str(ip) if form == ip else f"{ip}, which leads to {form}"
        for network, kind in _NEVER:
            if form in network:
                raise WorkerRefused(
                    RefusalCode.ADDRESS_NOT_ALLOWED,
                    f"The worker address {address!r} is {shown}: {kind}. No worker may"
                    " be there.",
                )
        if not any(form in network for network in allowed):
            raise WorkerRefused(
                RefusalCode.ADDRESS_NOT_ALLOWED,
                f"The worker address {address!r} is {shown}, outside of the networks"
                " that the controller allows (ALLOWED_WORKER_NETWORKS).",
            )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
