"""Listeners for clients outside Kubernetes: what each broker advertises of its `addresses`, and since when. Pure.

A broker never advertises an address that it does not have. What depends on the Kubernetes node that its pod runs on is
known once the pod is bound: the operator then writes it into a ConfigMap of that broker, under the name of that node,
and the init container waits for it, adds it to server.properties and reports it. So what was reported is what a broker
tells clients, whatever has changed since; another address is a reason for a restart, a planned one: advertised
listeners are read when a broker starts (KAFKA-18403: in KRaft they are not reconfigurable).

Addresses stay: a node port is kept by its Service, a load balancer's address by its provider, both outlive pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controlplane.api.access import Listener
from controlplane.api.external import ADDRESS_TYPES, NODE_ID, ListenerType
from controlplane.domain.check import Check
from controlplane.domain.cluster import manifests, naming, services
from controlplane.domain.cluster.addresses import (
    EPOCH,
    Address,
    address,
    declared_no_more,
    ingress,
    known,
    listeners,
    node_port,
    own_host,
    recorded,
    reported,
    service_of,
)
from controlplane.domain.cluster.last import last_listeners
from controlplane.domain.cluster.layout import Layout, NodeLayout
from controlplane.domain.cluster.manifests import Manifest
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation
from controlplane.domain.rolling.values import NodeTarget


@dataclass(frozen=True, slots=True)
class ApplyAdvertised:
    """Write down what a broker tells clients, for its init container."""

    manifest: Manifest
    ours: bool


@dataclass(frozen=True, slots=True)
class RemoveService:
    """A Service of a listener, or of a broker, that is declared no more and that no pod serves any more."""

    service: str
    uid: str


def steps(world: World) -> Iterator[ApplyAdvertised]:
    """What brokers are to tell clients, where it is not written down yet.

    Only once the broker's certificate is for it: a client that verifies host names must not meet another one.
    """
    for node in world.observation.nodes:
        if not node.is_broker or node.pod is None or not node.pod.machine:
            continue
        wanted = _wanted(world, node)
        name = naming.advertised(world.cluster.metadata.name, node.pool, node.id)
        data = world.config_maps.get(name)
        text = "".join(f"{listener.upper()}={one}\n" for listener, one in sorted(wanted.items()))
        if not wanted or (data or {}).get(node.pod.machine) == text or not _is_certified(world, node, wanted):
            continue
        epoch = (data or {}).get(EPOCH, "1")
        told = reported(node)
        if any(listener in told and told[listener] != one for listener, one in wanted.items()):
            epoch = str(int(epoch) + 1) if epoch.isdecimal() else "2"
        content = {node.pod.machine: text} | ({EPOCH: epoch} if epoch != "1" else {})
        meta = manifests.meta_of(world.cluster, name, node, owned=True)
        yield ApplyAdvertised({"metadata": meta, "data": content}, data is not None)


def _wanted(world: World, node: NodeObservation) -> dict[str, Address]:
    """By listener. Those that are declared no more stay while the broker's pod may begin anew with them."""
    found = {item.name: one for item in listeners(world.cluster) if (one := known(world, item, node))}
    return found | declared_no_more(world, node)


def _is_certified(world: World, node: NodeObservation, wanted: Mapping[str, Address]) -> bool:
    if world.access is None:
        return True
    held = world.access.nodes.get(node.id)
    own = {item.name for item in listeners(world.cluster) if item.tls and item.certificate_secret_ref is None}
    certified = held.certificate.hosts if held is not None and held.certificate is not None else ()
    return {one.host for name, one in wanted.items() if name in own} <= set(certified)


def is_stale(world: World, node: NodeObservation) -> bool:
    """Whether a running broker tells clients an address that is written down otherwise by now."""
    told, now = reported(node), recorded(world, node)
    return any(name in now and now[name] != one for name, one in told.items())


def told_otherwise(world: World) -> set[str]:
    """Services of brokers that run and tell clients another address than they are to tell from their next start."""
    found = set()
    for node in world.observation.nodes:
        told = reported(node)
        for item in listeners(world.cluster):
            wanted = address(world, item, node) or known(world, item, node)
            if item.name in told and wanted not in {None, told[item.name]}:
                found.add(naming.broker_service(world.cluster.metadata.name, item.name, node.id))
    return found


def epochs(world: World) -> str:
    """For the plan of a roll: which brokers' addresses have changed, and how often; empty if none ever did."""
    found = []
    for node in world.observation.nodes:
        data = world.config_maps.get(naming.advertised(world.cluster.metadata.name, node.pool, node.id), {})
        found += [f"{node.id}={data[EPOCH]}"] if EPOCH in data else []
    return ",".join(found)


def unaddressed(world: World, layout: Layout) -> frozenset[int]:
    """Brokers that would wait for an address if they were started as declared."""
    return frozenset(
        node.id for node in layout.brokers for item in listeners(world.cluster) if not _has_address(world, item, node)
    )


def _has_address(world: World, item: Listener, node: NodeLayout) -> bool:
    """Of a broker whose pod is away all that is known is whether its Service has what it needs."""
    observed = world.observation.node(node.id)
    if observed is not None and known(world, item, observed) is not None:
        return True
    placed = observed is not None and observed.pod is not None and observed.pod.machine
    service = service_of(world, item, node.id)
    return item.type is ListenerType.NODE_PORT and not placed and node_port(service) is not None


def pending(world: World, layout: Layout) -> tuple[Check, ...]:
    """What keeps clients outside from being told where brokers are. Services that are still to be made do not count."""
    return tuple(_pending(world, layout))


def _pending(world: World, layout: Layout) -> Iterator[Check]:
    name = world.cluster.metadata.name
    for item in listeners(world.cluster):
        path = f"spec.listeners[{item.name}]"
        if item.type is ListenerType.LOAD_BALANCER:
            lacking = [one for one in _balanced(world, item, layout) if one in world.services]
            if lacking := [one for one in lacking if not ingress(world.services[one])]:
                yield Check(
                    "ExternalAddressPending",
                    ok=False,
                    evidence=f"{path}: Service {lacking[0]}{_more(lacking)} has no address of a load balancer yet.",
                    remedy="No broker is restarted for it before; one that was never started waits. See the Service's "
                    "Events, and whether anything gives load balancers for its class and annotations.",
                )
            continue
        for node in world.observation.nodes:
            machine = node.pod.machine if node.pod is not None else None
            concerned = machine is not None and node.is_broker and own_host(item, node.id) is None
            if concerned and service_of(world, item, node.id) is not None and known(world, item, node) is None:
                wanted = ", ".join(kind.value for kind in item.outside.address_types or ADDRESS_TYPES)
                yield Check(
                    "ExternalAddressPending",
                    ok=False,
                    evidence=f"{path}: Kubernetes node {machine}, where broker {node.id} runs, has no address of type "
                    f"{wanted}.",
                    remedy="Name a type that it has in external.addressTypes, or give the broker an "
                    "external.advertisedHost.",
                )
                break
    yield from _shared(world, name)


def _balanced(world: World, item: Listener, layout: Layout) -> Iterator[str]:
    """Services that need the address of a load balancer, those of brokers first."""
    name = world.cluster.metadata.name
    for node in layout.brokers:
        observed = world.observation.node(node.id)
        before = recorded(world, observed).get(item.name) if observed is not None else None
        if own_host(item, node.id) is None and before is None:
            yield naming.broker_service(name, item.name, node.id)
    if item.outside.bootstrap_host is None:
        yield naming.listener_service(name, item.name)


def _more(lacking: list[str]) -> str:
    return f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""


def _shared(world: World, name: str) -> Iterator[Check]:
    """Clients that look for one broker would meet another one."""
    brokers = [node for node in world.observation.nodes if node.is_broker]
    for item in listeners(world.cluster):
        found = [str(one) for node in brokers if (one := known(world, item, node))]
        if twice := [text for text, count in Counter(found).items() if count > 1]:
            yield Check(
                "ExternalAddressShared",
                ok=False,
                evidence=f"spec.listeners[{item.name}].external: several brokers of {name} would be reached at "
                f"{twice[0]}.",
                remedy=f"Put {NODE_ID} into advertisedHost, or give brokers hosts or ports of their own.",
            )


def gate(world: World, layout: Layout, nodes: tuple[NodeTarget, ...]) -> tuple[Check, ...]:
    """No ready node is stopped whose successor would wait for an address, as far as that is not ours to prepare."""
    due = {node.node for node in nodes if node.reasons}
    if due & unaddressed(world, layout):
        return pending(world, layout) or unmade(world, layout)
    authority = world.access.cluster_ca if world.access is not None else None
    if authority is None or (authority.current is not None and not authority.problem) or not due & _unwritten(world):
        return ()
    return (
        Check(
            "ExternalAddressPending",
            ok=False,
            evidence="No certificate can be signed for the addresses that brokers are to tell clients outside.",
            remedy="See the condition CertificatesCurrent.",
        ),
    )


def unmade(world: World, layout: Layout) -> tuple[Check, ...]:
    """Services of brokers that are still to be made: in this very pass, unless Kubernetes refuses them."""
    cluster = world.cluster
    wanted = [
        naming.broker_service(cluster.metadata.name, item.name, node.id)
        for item in listeners(cluster)
        for node in layout.brokers
    ]
    if not (lacking := [name for name in wanted if name not in world.services]):
        return ()
    return (
        Check(
            "ExternalAddressPending",
            ok=False,
            evidence=f"Service {lacking[0]}{_more(lacking)} is still to be made.",
            remedy="Where Kubernetes refuses one, ServiceRefused says why.",
        ),
    )


def awaited(world: World, layout: Layout) -> tuple[Check, ...]:
    """What a roll waits for while an eviction does no harm: who is evicted comes back as it was.

    Nothing while a broker runs where its Kubernetes node has no such address: an evicted one could come up there too.
    """
    placed = [
        (item, node)
        for item in listeners(world.cluster)
        for node in layout.brokers
        if item.type is ListenerType.NODE_PORT and node_port(service_of(world, item, node.id)) is not None
    ]
    if _unwritten(world) or not all(_has_address(world, item, node) for item, node in placed):
        return ()
    return (*pending(world, layout), *unmade(world, layout))


def unprepared(world: World, layout: Layout) -> frozenset[int]:
    """Brokers that are not to be stopped in this pass: what their successors tell clients is not written down yet."""
    return unaddressed(world, layout) | _unwritten(world)


def _unwritten(world: World) -> frozenset[int]:
    """Running brokers for which it is not written down yet what they are to tell clients."""
    outside = listeners(world.cluster)
    return frozenset(
        node.id
        for node in world.observation.nodes
        if node.is_broker and node.pod is not None and node.pod.machine
        if any(recorded(world, node).get(item.name) != known(world, item, node) for item in outside)
    )


def refusals(world: World) -> Iterator[Check]:
    """A listener's type is chosen once, and so is the node port of a broker that tells it to clients: the addresses of
    its clients lie in them."""
    for item in world.cluster.spec.listeners:
        found = world.services.get(naming.listener_service(world.cluster.metadata.name, item.name))
        before = services.listener_type(found) if found is not None else item.type
        if before is not item.type:
            yield Check(
                "ListenerChangeRefused",
                ok=False,
                evidence=f"spec.listeners[{item.name}].type: it never changes, and Service "
                f"{naming.listener_service(world.cluster.metadata.name, item.name)} is of {before.value}.",
                remedy="Set it back. Add another listener, move the clients, then remove this one. A name may be used "
                "anew once the Service is gone.",
            )
    yield from _moved_ports(world)


def _moved_ports(world: World) -> Iterator[Check]:
    """Kubernetes moves a Service's port at once, and says only then whether it does. Brokers go on telling the former
    one until they are restarted."""
    for item in listeners(world.cluster):
        for node in world.observation.nodes:
            asked, has = item.outside.broker(node.id).node_port, node_port(service_of(world, item, node.id))
            told = reported(node).get(item.name)
            if asked is not None and told is not None and told.port == has != asked:
                path = f"spec.listeners[{item.name}].external.brokers[{node.id}].nodePort"
                yield Check(
                    "ListenerChangeRefused",
                    ok=False,
                    evidence=f"{path}: broker {node.id} tells clients {told}; with port {asked} none of them would "
                    "reach it until it is restarted.",
                    remedy=f"Set it to {has}, or take it out. Add another listener with the ports that you want, move "
                    "the clients, then remove this one.",
                )
                return


def leftovers(world: World, wanted: set[str]) -> Iterator[RemoveService]:
    """Services that are not among the wanted ones, once no pod was started with their listener."""
    running = [last_listeners(world, node) for node in world.observation.nodes if node.pod is not None]
    if not all(running):  # of one that runs it is not known with which it was started
        return
    served = frozenset().union(*running)
    declared = {item.name for item in world.cluster.spec.listeners}
    prefix = f"{world.cluster.metadata.name}-"
    for name, service in sorted(world.services.items()):
        meta = service["metadata"]
        owners = {one.get("uid") for one in meta.get("ownerReferences") or []}
        if name in wanted or not name.startswith(prefix) or world.cluster.metadata.uid not in owners:
            continue
        listener, _, node = name.removeprefix(prefix).partition("-")
        if listener not in served or (listener in declared and node.isdecimal()):
            yield RemoveService(name, meta["uid"])
