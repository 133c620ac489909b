"""Where clients outside Kubernetes reach the brokers of a listener: what each broker advertises, and since when. Pure.

A broker never advertises an address that it does not have. What depends on the Kubernetes node that its pod runs on is
known once the pod is bound: the operator then writes it into a ConfigMap of that broker, under the name of that node,
and the init container waits for it, adds it to server.properties and reports it. So what was reported is what a broker
tells clients, whatever has changed since; another address is a reason for a restart, a planned one: advertised
listeners are read when a broker starts (KAFKA-18403: in KRaft they are not reconfigurable).

Addresses stay: a node port is kept by its Service, a load balancer's address by its provider, both outlive pods.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from controlplane.api.external import ADDRESS_TYPES, NODE_ID, ListenerType
from controlplane.api.kafka_cluster import KafkaCluster, Listener
from controlplane.domain.check import Check
from controlplane.domain.cluster import manifests, naming, services
from controlplane.domain.cluster.last import last_listeners
from controlplane.domain.cluster.layout import Layout, NodeLayout
from controlplane.domain.cluster.manifests import Manifest
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation
from controlplane.domain.rolling.values import NodeTarget

EPOCH = "_epoch"
"""Beside the addresses in a broker's ConfigMap, once one of them has changed under a running broker: how often. Part of
the plan of the roll that follows, so that an approval of an earlier one does not count. No node's name has a '_'."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address | None:
    """None for what is none."""
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port)) if host and port.isdecimal() else None


def _canonical(host: str) -> str:
    """IP addresses have several spellings, and certificates one."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host


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


def listeners(cluster: KafkaCluster) -> tuple[Listener, ...]:
    """Those for clients outside."""
    return tuple(item for item in cluster.spec.listeners if item.is_external)


def machines(
    cluster: KafkaCluster, nodes: tuple[NodeObservation, ...], maps: Mapping[str, Mapping[str, str]]
) -> set[str]:
    """The Kubernetes nodes whose addresses matter: those that brokers run on, or ran on last."""
    if all(item.type is not ListenerType.NODE_PORT for item in cluster.spec.listeners):
        return set()
    return {name for node in nodes if node.is_broker and (name := _machine(cluster, node, maps))}


def _machine(cluster: KafkaCluster, node: NodeObservation, maps: Mapping[str, Mapping[str, str]]) -> str | None:
    if node.pod is not None and node.pod.machine:
        return node.pod.machine
    data = maps.get(naming.advertised(cluster.metadata.name, node.pool, node.id), {})
    return next((name for name in sorted(data) if name != EPOCH), None)


def _machine_hosts(world: World, item: Listener, node: NodeObservation) -> list[str]:
    """The addresses of the Kubernetes node that the broker runs on, or ran on last, of the kind that is wanted."""
    found = world.machines.get(_machine(world.cluster, node, world.config_maps) or "", ())
    for wanted in item.outside.address_types or ADDRESS_TYPES:
        if hosts := [address for kind, address in found if kind == wanted.value]:
            return hosts
    return []


def _machine_host(world: World, item: Listener, node: NodeObservation) -> str | None:
    return next(iter(_machine_hosts(world, item, node)), None)


def _ingresses(service: Mapping[str, Any] | None) -> list[str]:
    """What the load balancer of a Service was given."""
    entries = ((service or {}).get("status") or {}).get("loadBalancer", {}).get("ingress") or []
    return [text for one in entries for key in ("ip", "hostname") if (text := one.get(key))]


def _ingress(service: Mapping[str, Any] | None) -> str | None:
    return next(iter(_ingresses(service)), None)


def _the_same(found: list[str], before: Address | None) -> str | None:
    """The one that was told before while it is among those that were found: their order means nothing."""
    hosts = [_canonical(host) for host in found]
    return before.host if before is not None and before.host in hosts else next(iter(hosts), None)


def _node_port(service: Mapping[str, Any] | None) -> int | None:
    ports = ((service or {}).get("spec") or {}).get("ports") or []
    return next((port["nodePort"] for port in ports if port.get("nodePort")), None)


def _service(world: World, item: Listener, node_id: int) -> Mapping[str, Any] | None:
    return world.services.get(naming.broker_service(world.cluster.metadata.name, item.name, node_id))


def _own_host(item: Listener, node_id: int) -> str | None:
    """What people have chosen."""
    template = item.outside.advertised_host
    made = template.replace(NODE_ID, str(node_id)) if template is not None else None
    return item.outside.broker(node_id).advertised_host or made


def address(world: World, item: Listener, node: NodeObservation) -> Address | None:
    """What a broker should tell clients of a listener; None while a part of it is not known."""
    service, own = _service(world, item, node.id), _own_host(item, node.id)
    before = recorded(world, node).get(item.name)
    if service is None:
        return None
    if item.type is ListenerType.NODE_PORT:
        host, port = own or _the_same(_machine_hosts(world, item, node), before), _node_port(service)
    else:
        host, port = own or _the_same(_ingresses(service), before), item.port
    port = item.outside.broker(node.id).advertised_port or port
    return Address(_canonical(host), port) if host and port else None


def recorded(world: World, node: NodeObservation) -> dict[str, Address]:
    """By listener, what was written down for the Kubernetes node that the broker runs on, or ran on last."""
    data = world.config_maps.get(naming.advertised(world.cluster.metadata.name, node.pool, node.id), {})
    return _read(data.get(_machine(world.cluster, node, world.config_maps) or "", ""))


def _read(text: str) -> dict[str, Address]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.lower(): found for name, _, text in pairs if (found := parse(text))}


def _declared_no_more(world: World, node: NodeObservation) -> dict[str, Address]:
    """By listener, what was written down last of those that only the broker's last pod has, which may begin anew.

    Nothing finds out any more where they are reached. On a Kubernetes node that nothing was written down for they keep
    the address that they had elsewhere: without any the broker would not start, for a listener that is going.
    """
    data = world.config_maps.get(naming.advertised(world.cluster.metadata.name, node.pool, node.id), {})
    found: dict[str, Address] = {}
    for machine in sorted(data.keys() - {EPOCH}):
        found |= _read(data[machine])
    found |= recorded(world, node)
    gone = last_listeners(world, node) - {item.name for item in world.cluster.spec.listeners}
    return {name: found[name] for name in gone & found.keys()}


def reported(node: NodeObservation) -> dict[str, Address]:
    """By listener, what a running broker was started with."""
    try:
        report = json.loads(node.pod.format_message or "") if node.pod else {}
        told: Mapping[str, str] = report.get("advertised") or {} if isinstance(report, dict) else {}
    except ValueError:
        return {}
    return {name.lower(): found for name, text in told.items() if (found := parse(str(text)))}


def known(world: World, item: Listener, node: NodeObservation) -> Address | None:
    """An address that cannot be found out now is what it was: a load balancer's may be missing for a moment. So is one
    in whose place a name was declared that the listener's given certificate is not for."""
    found, before = address(world, item, node), recorded(world, node).get(item.name)
    if found is None or before is None or before.host == found.host or _own_host(item, node.id) is None:
        return found or before
    return before if is_unproven(world, item, found.host) else found


def is_unproven(world: World, item: Listener, host: str) -> bool:
    """Whether the certificate that was given for a listener is not for a host that clients are to be told."""
    given = world.access.given.get(item.name) if world.access is not None else None
    return given is not None and host in given.missing


def hosts(world: World, node: NodeLayout | NodeObservation) -> tuple[str, ...]:
    """Every name and address at which clients outside may reach a broker now, or may have been told to.

    What a listener had that is declared no more, and what was advertised before an address changed, are among them
    until no pod tells clients so.
    """
    observed = world.observation.node(node.id)
    found = [host for item in listeners(world.cluster) for host in _hosts_of(world, item, observed)]
    if observed is not None:
        before = recorded(world, observed) | _declared_no_more(world, observed)
        found += [before[name].host for name in sorted(last_listeners(world, observed) & before.keys())]
        found += [one.host for one in reported(observed).values()]
    return tuple(dict.fromkeys(found))


def _hosts_of(world: World, item: Listener, node: NodeObservation | None) -> tuple[str, ...]:
    """Of one listener: where a broker is reached, and where clients begin."""
    service = world.services.get(naming.listener_service(world.cluster.metadata.name, item.name))
    found = [item.outside.bootstrap_host]
    if node is not None and (one := known(world, item, node)):
        found.append(one.host)
    if item.outside.bootstrap_host is None and item.type is ListenerType.LOAD_BALANCER:
        found.append(_ingress(service))
    elif item.outside.bootstrap_host is None and node is not None:
        found.append(_machine_host(world, item, node))
    return tuple(dict.fromkeys(_canonical(host) for host in found if host))


def bootstrap(world: World, item: Listener) -> tuple[str, ...]:
    """host:port of where clients outside begin; empty while there is none."""
    service = world.services.get(naming.listener_service(world.cluster.metadata.name, item.name))
    own = item.outside.bootstrap_host
    if item.type is ListenerType.LOAD_BALANCER:
        host = own or _ingress(service)
        return (str(Address(host, item.port)),) if host and service else ()
    port = _node_port(service)
    brokers = [node for node in world.observation.nodes if node.is_broker]
    found = [own] if own else [host for node in brokers if (host := _machine_host(world, item, node))]
    return tuple(dict.fromkeys(str(Address(host, port)) for host in found)) if port else ()


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
    return found | _declared_no_more(world, node)


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
    service = _service(world, item, node.id)
    return item.type is ListenerType.NODE_PORT and not placed and _node_port(service) is not None


def pending(world: World, layout: Layout) -> tuple[Check, ...]:
    """What keeps clients outside from being told where brokers are. Services that are still to be made do not count."""
    return tuple(_pending(world, layout))


def _pending(world: World, layout: Layout) -> Iterator[Check]:
    name = world.cluster.metadata.name
    for item in listeners(world.cluster):
        path = f"spec.listeners[{item.name}]"
        if item.type is ListenerType.LOAD_BALANCER:
            lacking = [one for one in _balanced(world, item, layout) if one in world.services]
            if lacking := [one for one in lacking if not _ingress(world.services[one])]:
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
            concerned = machine is not None and node.is_broker and _own_host(item, node.id) is None
            if concerned and _service(world, item, node.id) is not None and known(world, item, node) is None:
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
        if _own_host(item, node.id) is None and before is None:
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
        if item.type is ListenerType.NODE_PORT and _node_port(_service(world, item, node.id)) is not None
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
            asked, has = item.outside.broker(node.id).node_port, _node_port(_service(world, item, node.id))
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
