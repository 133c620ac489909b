"""Which address a load balancer gets. Pure: the statuses of the Services are the only memory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from ipaddress import IPv4Network

from controlplane.sandbox.proxy.endpoints import Name


def choose(network: IPv4Network, name: Name, held: Mapping[Name, str]) -> str | None:
    """A free address for a Service; None when there is none. Where it is free one that follows from the Service's name,
    so that a Service that is made again has the address that it had."""
    hosts = [str(host) for host in network.hosts()]
    first = zlib.crc32(str(name).encode()) % len(hosts)
    taken = {address for other, address in held.items() if other != name}
    return next((host for host in (*hosts[first:], *hosts[:first]) if host not in taken), None)
