"""What clients are handed out: where they begin, and what brokers outside tell them. Pure.

A certificate that was given for a listener has to be for all of it. A name that people declare while the certificate is
not for it yet is held back where clients have another one: a client that verifies host names would be sent away from an
address that works. What Kubernetes changes by itself (an address of a load balancer) is told as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.api.access import Listener
from controlplane.domain.cluster import addresses, naming
from controlplane.domain.cluster.addresses import Address, parse
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation


def begin(world: World, item: Listener, *, by_name: bool) -> tuple[str, ...]:
    """host:port of where clients of a listener begin; empty while there is none.

    `by_name` (addressing DNS): those within Kubernetes are given the name of the Service, and otherwise its address.
    """
    return _before(world, item) if _is_held_back(world, item) else _wanted(world, item, by_name=by_name)


def hosts(world: World, item: Listener, *, by_name: bool) -> set[str]:
    """Every name and address that clients are handed out, or are to be: where they begin, and what each broker tells
    now and will tell. What is not known yet is not among them."""
    meta, brokers = world.cluster.metadata, [node for node in world.observation.nodes if node.is_broker]
    found = _hosts(_wanted(world, item, by_name=by_name))
    if item.is_external:
        ways = (told, addresses.known)
        return found | {one.host for node in brokers for way in ways if (one := way(world, item, node)) is not None}
    if by_name:
        return found | {naming.pod_host(meta.name, meta.namespace, node.pool, node.id) for node in brokers}
    return found | {node.pod.ip for node in brokers if node.pod is not None and node.pod.ip}


def told(world: World, item: Listener, node: NodeObservation) -> Address | None:
    """What a broker tells clients outside: what it was started with, else what is written down for its next start."""
    return addresses.reported(node).get(item.name) or addresses.recorded(world, node).get(item.name)


def held_back(world: World, item: Listener) -> tuple[str, ...]:
    """Declared names that clients are not told yet, because the given certificate is not for them."""
    own = item.outside.bootstrap_host
    found = {own} if own is not None and _is_held_back(world, item) else set()
    for node in world.observation.nodes:
        one = addresses.address(world, item, node) if node.is_broker and item.is_external else None
        if one is not None and addresses.known(world, item, node) != one:
            found.add(one.host)
    return tuple(sorted(found))


def _wanted(world: World, item: Listener, *, by_name: bool) -> tuple[str, ...]:
    if item.is_external:
        # A load balancer whose address is missing for a moment is where it was.
        return addresses.bootstrap(world, item) or _before(world, item)
    meta = world.cluster.metadata
    name = naming.listener_service(meta.name, item.name)
    if by_name:
        return (str(Address(f"{name}.{meta.namespace}.svc", item.port)),)
    address = world.services.get(name, {}).get("spec", {}).get("clusterIP")
    return (str(Address(address, item.port)),) if address else ()


def _before(world: World, item: Listener) -> tuple[str, ...]:
    return next((one.bootstrap_servers for one in world.cluster.status.listeners if one.name == item.name), ())


def _is_held_back(world: World, item: Listener) -> bool:
    own, before = item.outside.bootstrap_host, _hosts(_before(world, item))
    return own is not None and bool(before) and own not in before and addresses.is_unproven(world, item, own)


def _hosts(servers: Iterable[str]) -> set[str]:
    return {one.host for text in servers if (one := parse(text)) is not None}
