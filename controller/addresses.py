"""Addresses of clients behind proxies, and networks as operators type them."""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from django.utils.translation import gettext as _


def client_ip(
    peer: str, forwarded_for: str, trusted: Iterable[IPv4Network | IPv6Network]
) -> str:
    """The nearest address that no trusted proxy vouches away: whom to count limits by.

    `peer` is the other end of the connection, `forwarded_for` the X-Forwarded-For that
    came with it: each proxy added its own peer at the right. It is read from there,
    and only as far as the address to its right is in `trusted`, so a client cannot
    choose its address by sending the header itself. What is no address ends the walk.
    """
    networks = tuple(trusted)
    nearest = parse_address(peer)
    if nearest is None:  # a unix socket: whoever writes to it is on this machine
        nearest = IPv4Address("127.0.0.1")
    for item in reversed(forwarded_for.split(",")):
        if not any(nearest in network for network in networks):
            break
        farther = parse_address(item)
        if farther is None:
            break
        nearest = farther
    return str(nearest)


def parse_networks(text: str) -> list[str]:
    """Networks in CIDR notation from a list with commas or spaces; none for "".

    Raises ValueError, with the words to show, naming the item that is no network.
    """
    networks = []
    for item in text.replace(",", " ").split():
        try:
            networks.append(str(ip_network(item)))
        except ValueError as exc:
            words = _(
                "%(item)s is no network: write 10.0.0.0/8, or an address for one host."
            )
            raise ValueError(words % {"item": repr(item)}) from exc
    return networks


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4 one mapped into IPv6 unwrapped; None for anything else."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
