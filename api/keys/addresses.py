"""Where a request comes from, and whether it may: IP addresses and networks. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an address lies in one of the networks; what is no address lies in none.

    >>> is_within("::ffff:10.1.2.3", ("192.0.2.0/24", "10.0.0.0/8"))
    True
    """
    known = address_of(address)
    return known is not None and any(known in network for network in _parsed(networks))


def client_address(peer: str, forwarded_for: str, proxies: tuple[str, ...]) -> str:
    """The address that a request comes from, seen through proxies of our own.

    Each proxy adds the address that it was called from at the end of `X-Forwarded-For`. So from
    the end on, what trusted proxies say is believed, and the first address that is none of them is
    the client's; whatever stands before it, the client may have written.

    >>> client_address("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", ("10.0.0.0/8",))
    '198.51.100.7'
    """
    believed = peer
    for hop in reversed(forwarded_for.split(",") if forwarded_for else ()):
        if not is_within(believed, proxies):
            return believed
        address = address_of(hop.strip())
        if address is None:
            return believed
        believed = str(address)
    return believed


@lru_cache(maxsize=4_096)
def address_of(text: str) -> Address | None:
    """An address; an IPv4 one that came in by IPv6 as itself. None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4_096)
def _parsed(networks: tuple[str, ...]) -> Sequence[Network]:
    return tuple(ip_network(text) for text in networks)
