"""Which peers are believed: balancers and proxies in front of us, by address, network or Unix socket."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_REMEMBERED = 1024
"""Answers kept. Proxies are few, clients are many: the memory starts anew when it is full."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_address(text: str) -> Address | None:
    """Return the IP address that stands there, an IPv4 one mapped into IPv6 as IPv4; None for anything else."""
    if len(text) > 45 or "%" in text:  # the longest text of an IPv6 address; zones mean nothing to anybody else
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Peers:
    """The peers named by an option: addresses, networks, "unix" and "*", as the option's converter writes them."""

    __slots__ = ("_all", "_known", "_networks", "_unix")

    def __init__(self, names: Iterable[str]) -> None:
        names = set(names)
        self._all = "*" in names
        self._unix = "unix" in names
        self._networks = [ipaddress.ip_network(name) for name in sorted(names - {"*", "unix"})]
        self._known: dict[str, bool] = {}

    def include(self, host: str | None) -> bool:
        """Tell whether a peer is one of them. host: its IP address, or None for one on a Unix socket."""
        if self._all:
            return True
        if host is None:
            return self._unix
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[host] = self._look(host)
        return known

    def _look(self, host: str) -> bool:
        address = read_address(host.partition("%")[0])
        return address is not None and any(address in network for network in self._networks)
