"""What a node was last started with, from its ConfigMap. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from controlplane.domain.cluster import naming, properties
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation

_OWN = frozenset({properties.CONTROLLER_LISTENER, properties.REPLICATION_LISTENER})


def last_settings(world: World, node: NodeObservation) -> dict[str, str]:
    """server.properties of a node as it was last started, values as they stand in the file; empty if it never was."""
    name = naming.config(world.cluster.metadata.name, node.pool, node.id)
    return dict(_settings(world.config_maps.get(name, {}).get("server.properties", "")))


@lru_cache(maxsize=2048)
def _settings(text: str) -> Mapping[str, str]:
    """A node's file stays what it is from one restart to the next, and is looked at several times in every pass."""
    return {key: value for key, _, value in (line.partition("=") for line in text.splitlines())}


def last_protocols(world: World, node: NodeObservation) -> dict[str, str]:
    """Security protocol by Kafka's listener name, as a node was last started; empty for one that never was."""
    protocols = last_settings(world, node).get("listener.security.protocol.map", "")
    return dict(entry.split(":", 1) for entry in protocols.split(",") if entry)


def last_listeners(world: World, node: NodeObservation) -> frozenset[str]:
    """Users' listeners, by the names that they have in a spec, as a node was last started."""
    return frozenset(name.lower() for name in last_protocols(world, node).keys() - _OWN)
