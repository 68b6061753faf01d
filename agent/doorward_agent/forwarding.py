"""Named forwards: which of an order's this device allows, and which addresses a target's name may lead to (ADR 28).

The device's own configuration decides, whoever signs. A name is resolved once for each attempt by whoever connects, and the
address that was judged here is the one that is connected to: nothing resolves the name a second time. Pure.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

from doorward_protocol.fields import Malformed
from doorward_protocol.targets import Target, target_from_text

from doorward_agent.config import AllowedForward

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds tell machines their secrets, besides the link-local 169.254.169.254: Alibaba, Azure, Oracle, AWS, Google."""
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
"""The kernel takes 0.0.0.0 for the machine itself."""
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses behind a NAT64 (RFC 6052, section 2.1)."""


def refusal_of(name: str, target: str, allowed: Mapping[str, AllowedForward]) -> str | None:
    """Say why an ordered forward is not opened, or None."""
    known = allowed.get(name)
    if known is None:
        return "forward.not-allowed"
    return None if known.target == target else "forward.other-target"


def place_of(target: str) -> Target | None:
    """Read a target that stands in the configuration; None for one that is none."""
    try:
        return target_from_text(target)
    except Malformed:
        return None


def may_lead_to(address: str, allowed: AllowedForward, *, is_own: bool) -> bool:
    """Tell whether a target's name may have this address; ``is_own`` where it is one of the device's own.

    A target that is written as an address leads there and nowhere else, whatever that address is.
    """
    found = _plain(ipaddress.ip_address(address.partition("%")[0]))
    literal = _literal(allowed.target)
    if literal is not None:
        return found == literal
    if allowed.within and not any(found in ipaddress.ip_network(one) for one in allowed.within):
        return False
    return not (is_own or _is_special(found))


def _is_special(address: _Address) -> bool:
    is_here = address.is_loopback or address.is_link_local or address.is_unspecified or address in _THIS_NETWORK
    return is_here or address.is_multicast or address in _METADATA or address == _BROADCAST


_BROADCAST: Final = ipaddress.ip_address("255.255.255.255")


def _literal(target: str) -> _Address | None:
    place = place_of(target)
    try:
        return None if place is None else _plain(ipaddress.ip_address(place.host))
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """Give the IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
