"""Where the brokers of listeners for clients outside are reached, as far as it is known, and what they tell. Pure.

`external` says since when a broker tells an address, and what is waited for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from controlplane.api.access import Listener
from controlplane.api.external import ADDRESS_TYPES, NODE_ID, ListenerType
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster import naming
from controlplane.domain.cluster.last import last_listeners
from controlplane.domain.cluster.layout import NodeLayout
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation

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


def ingress(service: Mapping[str, Any] | None) -> str | None:
    return next(iter(_ingresses(service)), None)


def _the_same(found: list[str], before: Address | None) -> str | None:
    """The one that was told before while it is among those that were found: their order means nothing."""
    hosts = [_canonical(host) for host in found]
    return before.host if before is not None and before.host in hosts else next(iter(hosts), None)


def node_port(service: Mapping[str, Any] | None) -> int | None:
    ports = ((service or {}).get("spec") or {}).get("ports") or []
    return next((port["nodePort"] for port in ports if port.get("nodePort")), None)


def service_of(world: World, item: Listener, node_id: int) -> Mapping[str, Any] | None:
    return world.services.get(naming.broker_service(world.cluster.metadata.name, item.name, node_id))


def own_host(item: Listener, node_id: int) -> str | None:
    """What people have chosen."""
    template = item.outside.advertised_host
    made = template.replace(NODE_ID, str(node_id)) if template is not None else None
    return item.outside.broker(node_id).advertised_host or made


def address(world: World, item: Listener, node: NodeObservation) -> Address | None:
    """What a broker should tell clients of a listener; None while a part of it is not known."""
    service, own = service_of(world, item, node.id), own_host(item, node.id)
    before = recorded(world, node).get(item.name)
    if service is None:
        return None
    if item.type is ListenerType.NODE_PORT:
        host, port = own or _the_same(_machine_hosts(world, item, node), before), node_port(service)
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


def declared_no_more(world: World, node: NodeObservation) -> dict[str, Address]:
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
    if found is None or before is None or before.host == found.host or own_host(item, node.id) is None:
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
        before = recorded(world, observed) | declared_no_more(world, observed)
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
        found.append(ingress(service))
    elif item.outside.bootstrap_host is None and node is not None:
        found.append(_machine_host(world, item, node))
    return tuple(dict.fromkeys(_canonical(host) for host in found if host))


def bootstrap(world: World, item: Listener) -> tuple[str, ...]:
    """host:port of where clients outside begin; empty while there is none."""
    service = world.services.get(naming.listener_service(world.cluster.metadata.name, item.name))
    own = item.outside.bootstrap_host
    if item.type is ListenerType.LOAD_BALANCER:
        host = own or ingress(service)
        return (str(Address(host, item.port)),) if host and service else ()
    port = node_port(service)
    brokers = [node for node in world.observation.nodes if node.is_broker]
    found = [own] if own else [host for node in brokers if (host := _machine_host(world, item, node))]
    return tuple(dict.fromkeys(str(Address(host, port)) for host in found)) if port else ()
