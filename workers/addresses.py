"""Addresses and ports: what people type made whole, and the rest worked out.

A wrong worker address was the commonest trouble of people who ran FastChat, so a worker
finds its own: the local end of the route to its controller.
"""

import contextlib
import errno
import ipaddress
import logging
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from workers.errors import BadAddress, BadSetting, PortTaken

logger = logging.getLogger(__name__)

DEFAULT_PORT = 21002
NUM_PORTS_TRIED = 200
MAX_PORT = 65535
# All addresses of a machine, and by which of them it calls itself.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)


def with_scheme(address: str, scheme: str = "http") -> str:
    """Return `address` as a URL without a slash at its end, by default of `scheme`."""
    address = address.strip()
    if "://" not in address:
        address = f"{scheme}://{address}"
    parts = urlsplit(address)
    try:
        parts.port  # noqa: B018  (a property that raises on a port out of range)
    except ValueError as error:
        raise BadAddress(f"{address!r} has no valid port: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadAddress(
            f"{address!r} is not an address; write it as http://host:port."
        )
    return address.rstrip("/")


def worker_address(
    given: str | None, host: str, port: int, controller: str, scheme: str = "http"
) -> str:
    """Return the URL under which the controller is to reach the engine.

    `given` is what the operator typed, if anything: a bare name gets the engine's
    port. Else it is the bound host, or, where the engine binds to every address, the
    local address of the route to the controller.
    """
    if given:
        address = with_scheme(given, scheme)
        if "://" not in given and urlsplit(address).port is None:
            address = f"{address}:{port}"
        return address
    if host in WILDCARDS:
        host = local_address_towards(controller)
    return f"{scheme}://{bracketed(host)}:{port}"


def check_worker_address(given: str) -> None:
    """Raise `BadAddress` for one that no controller would take, which a join would
    tell once all is loaded."""
    parts = urlsplit(with_scheme(given))
    if parts.path or parts.query or parts.fragment:
        raise BadAddress(
            f"--worker-address {given} goes on after the port; write it as"
            " http://host:port."
        )
    if parts.hostname in WILDCARDS:
        raise BadAddress(
            f"--worker-address {given} is where to bind to (--host), not where to be"
            " called; leave it out, or name this machine."
        )


def default_host(controller: str | None) -> str:
    """Return the address to bind to: loopback for a loopback controller, else all."""
    if controller is None:
        return "127.0.0.1"
    local = ipaddress.ip_address(local_address_towards(controller).partition("%")[0])
    if local.is_loopback:
        return str(local)
    return "::" if local.version == 6 else "0.0.0.0"  # noqa: S104  (other machines call)


def host_to_bind(controller: str | None) -> str:
    """Return `default_host`, or every address while the controller has none."""
    try:
        return default_host(controller)
    except BadAddress as error:
        # Its name may resolve later. Others reach nothing: the engine wants its key.
        logger.warning("%s Binding to every address.", error)
        return "0.0.0.0"  # noqa: S104


def local_address_towards(controller: str) -> str:
    """Return this machine's IP address on the route to `controller`.

    A UDP connect chooses the route without sending a packet. Raises `BadAddress` if
    the name does not resolve or nothing leads there.
    """
    parts = urlsplit(controller)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise BadAddress(
            f"The controller's name {parts.hostname!r} does not resolve"
            f" ({error.strerror}). Check --controller-address,"
            " or give --host and --worker-address."
        ) from error
    # `localhost` gives ::1 first on many machines, while servers there listen on IPv4.
    for family, kind, protocol, _, target in sorted(found, key=lambda info: info[0]):
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(target)
            except OSError:
                continue
            return str(probe.getsockname()[0])
    raise BadAddress(
        f"No route leads to the controller at {controller}."
        " Check the network, or give --host and --worker-address."
    )


def check_port(number: int | None, flag: str) -> None:
    """Raise `BadSetting` for a number that no port can have."""
    if number is not None and not 0 < number <= MAX_PORT:
        raise BadSetting(f"{flag} {number} is no port: they go from 1 to {MAX_PORT}.")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_out_of_reach(host: str, controller: str) -> bool:
    """Tell if an engine bound to `host` is on this machine alone, and its controller
    elsewhere; False as long as the way there is not known."""
    if not is_loopback(host):
        return False
    try:
        return not is_loopback(local_address_towards(controller))
    except BadAddress:
        return False


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def local_url(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL under which this very machine reaches a server bound to `host`."""
    return f"{scheme}://{bracketed(WILDCARDS.get(host, host))}:{port}"


@dataclass
class ReservedPort:
    """A port number that this process keeps for its engine, restarts included.

    TCP alone cannot keep it: the engine must be able to bind it, and vLLM binds with
    SO_REUSEPORT, so two engines could share one by accident. The UDP port of the same
    number is exclusive, visible to every user, and free again when we die.
    """

    number: int
    holder: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self.holder.close()


def reserve_port(host: str, wished: int | None) -> ReservedPort:
    """Return `wished`, or else the first free port from 21002 on.

    Raises `PortTaken`, or `BadAddress` for a `host` that is not this machine's.
    """
    if wished is not None:
        return _reserved(host, wished)
    for number in range(DEFAULT_PORT, DEFAULT_PORT + NUM_PORTS_TRIED):
        with contextlib.suppress(PortTaken):
            return _reserved(host, number)
    last = DEFAULT_PORT + NUM_PORTS_TRIED - 1
    raise PortTaken(f"Ports {DEFAULT_PORT} to {last} are all in use; give --port.")


def _reserved(host: str, number: int) -> ReservedPort:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_DGRAM)
    try:
        holder.bind((host, number))
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: connections of an earlier engine in TIME_WAIT do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {number} is in use; choose another with --port."
            ) from error
        if error.errno == errno.EACCES:
            raise PortTaken(
                f"Port {number} is not for this user; choose one above 1023 with"
                " --port."
            ) from error
        raise BadAddress(
            f"--host {host} cannot be bound to: {error.strerror}."
        ) from error
    return ReservedPort(number, holder)
