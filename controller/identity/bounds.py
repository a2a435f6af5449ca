"""Where a key may be used: from which networks and sites, for which endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from controller.addresses import parse_address
from controller.errors import PermissionRefused
from controller.identity.origins import matches
from controller.models import ApiKey


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How a key is being used; what is not known fits no bound."""

    address: str = ""
    """The client's, as TRUSTED_PROXIES lets it be told."""
    origin: str = ""
    """The `Origin` header, which browsers send and scripts in them cannot change."""
    endpoint: str = ""
    """One of `ApiKey.Endpoint`, or another that no key can be bound to."""

    @classmethod
    def of(cls, meta: Mapping[str, str], endpoint: str) -> Self:
        """The use that a request with these headers makes of its key."""
        address = meta.get("REMOTE_ADDR", "")
        return cls(address, meta.get("HTTP_ORIGIN", ""), endpoint)


NOWHERE = KeyUse()
ANY_ENDPOINT = "*"
"""Of what answers every key alike: a stream that nobody knows is nobody's."""


@dataclass(frozen=True, slots=True)
class KeyBounds:
    networks: tuple[IPv4Network | IPv6Network, ...]
    origins: frozenset[str]
    endpoints: frozenset[str]
    is_publishable: bool

    @classmethod
    def of(cls, key: ApiKey) -> Self | None:
        """The bounds of the key; None for one without any, as most are."""
        if not (
            key.allowed_networks
            or key.allowed_origins
            or key.allowed_endpoints
            or key.is_publishable
        ):
            return None
        return cls(
            networks=tuple(ip_network(each) for each in key.allowed_networks),
            origins=frozenset(key.allowed_origins),
            endpoints=frozenset(key.allowed_endpoints),
            is_publishable=key.is_publishable,
        )

    def check(self, use: KeyUse) -> None:
        """Raise `PermissionRefused`, naming the bound, where the use is outside."""
        if self.networks and not self._holds_address(use.address):
            raise PermissionRefused(
                f"This API key is not for your address ({use.address or 'unknown'}).",
                code="address_not_allowed",
            )
        self._check_origin(use.origin)
        if use.endpoint == ANY_ENDPOINT:
            return
        is_inference = use.endpoint in ApiKey.Endpoint.values
        if self.is_publishable and not is_inference:
            raise PermissionRefused(
                "This API key is publishable: it calls models and nothing else.",
                code="endpoint_not_allowed",
            )
        if self.endpoints and use.endpoint not in self.endpoints:
            raise PermissionRefused(
                f"This API key is not for {use.endpoint or 'this endpoint'}. It opens"
                f" {', '.join(sorted(self.endpoints))}.",
                code="endpoint_not_allowed",
            )

    def _holds_address(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(
            address in network for network in self.networks
        )

    def _check_origin(self, origin: str) -> None:
        if not origin and self.is_publishable:
            raise PermissionRefused(
                "This API key is publishable: it is for browsers, whose requests bear"
                " an Origin header. Programs use a secret key.",
                code="origin_not_allowed",
            )
        if origin and self.origins and not matches(origin, self.origins):
            raise PermissionRefused(
                f"This API key is not for pages of {origin[:100]}.",
                code="origin_not_allowed",
            )
