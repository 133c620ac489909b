"""Node ids, zones and identities: derived, stable, and never taken from a node that Kafka still knows."""

import dataclasses
from typing import Any

import pytest

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.layout import Layout, NodeLayout, VolumeLayout, derived_uuid, lay_out
from controlplane.domain.observation import Identity, NodeObservation, Role, VolumeObservation


def cluster(uid: str = "11111111-2222-3333-4444-555555555555", brokers: int = 3, **spec: Any) -> KafkaCluster:
    return KafkaCluster.model_validate(
        {
            "apiVersion": "kfleet.dev/v1alpha1",
            "kind": "KafkaCluster",
            "metadata": {"name": "orders", "namespace": "kafka", "uid": uid, "generation": 1},
            "spec": {
                "provider": {"type": "Pods"},
                "version": "4.2.0",
                "nodePools": [
                    {
                        "name": "controllers",
                        "roles": ["Controller"],
                        "replicas": 3,
                        "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
                    },
                    {
                        "name": "brokers",
                        "roles": ["Broker"],
                        "replicas": brokers,
                        "zones": ["a", "b", "c"],
                        "storage": {"volumes": [{"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}]},
                    },
                ],
                "listeners": [{"name": "clients", "port": 9092}],
            }
            | spec,
        }
    )


def observed(layout: Layout, *, formatted: bool = True) -> tuple[NodeObservation, ...]:
    """The nodes that a layout's volumes stand for once they exist."""
    return tuple(
        NodeObservation(
            id=node.id,
            pool=node.pool,
            roles=node.roles,
            pod=None,
            volumes=tuple(
                VolumeObservation(v.claim, v.volume_id, 2**30, None, True, v.identity, "dir" if formatted else None)
                for v in node.volumes
            ),
        )
        for node in layout.nodes
    )


def test_first_layout_is_the_same_each_time() -> None:
    first = lay_out(cluster(), (), {}, formed=False)
    assert first == lay_out(cluster(), (), {}, formed=False)
    assert [node.id for node in first.nodes] == [0, 1, 2, 3, 4, 5]
    assert [node.pool for node in first.nodes] == ["controllers"] * 3 + ["brokers"] * 3
    assert [node.zone for node in first.brokers] == ["a", "b", "c"]


def test_only_first_voters_choose_a_directory_id_and_only_on_their_metadata_volume() -> None:
    layout = lay_out(cluster(), (), {}, formed=False)
    chosen = {v.identity.directory_id for node in layout.controllers for v in node.volumes}
    assert None not in chosen
    assert len(chosen) == 3
    assert {v.identity.directory_id for node in layout.brokers for v in node.volumes} == {None}


def _volumes(layout: Layout) -> list[tuple[NodeLayout, VolumeLayout]]:
    return [(node, volume) for node in layout.nodes for volume in node.volumes]


@pytest.mark.parametrize("made", range(10))
def test_a_pass_killed_after_any_volume_ends_in_the_same_layout(made: int) -> None:
    """Six nodes, three of them with two volumes: nine volumes; whatever exists, the rest is derived the same."""
    whole = lay_out(cluster(), (), {}, formed=False)
    exists = {(node.id, volume.volume_id) for node, volume in _volumes(whole)[:made]}
    partial = tuple(
        dataclasses.replace(node, volumes=tuple(v for v in node.volumes if (node.id, v.volume_id) in exists))
        for node in observed(whole, formatted=False)
        if any(node.id == node_id for node_id, _ in exists)
    )
    zones = {node.id: node.zone for node in whole.nodes if node.zone}
    again = lay_out(cluster(), partial, zones, formed=False)
    assert [(n.id, n.pool, n.zone, n.volumes) for n in again.nodes] == [
        (n.id, n.pool, n.zone, n.volumes) for n in whole.nodes
    ]


def test_retained_volumes_of_a_deleted_object_are_adopted_whatever_the_new_uid() -> None:
    before = lay_out(cluster(), (), {}, formed=False)
    after = lay_out(cluster(uid="99999999-2222-3333-4444-555555555555"), observed(before), {}, formed=True)
    assert after.cluster_id == before.cluster_id
    assert all(node.exists for node in after.nodes)


def test_added_brokers_take_the_lowest_free_ids_and_the_emptiest_zones() -> None:
    before = lay_out(cluster(), (), {}, formed=False)
    zones = {node.id: node.zone for node in before.nodes if node.zone}
    after = lay_out(cluster(brokers=5), observed(before), zones, formed=True)
    assert [(node.id, node.zone) for node in after.brokers if not node.exists] == [(6, "a"), (7, "b")]


def test_an_id_that_kafka_still_knows_is_never_given_to_a_new_node() -> None:
    before = lay_out(cluster(), (), {}, formed=False)
    after = lay_out(cluster(brokers=4), observed(before), {}, formed=True, known_ids=frozenset({6, 7}))
    assert [node.id for node in after.brokers if not node.exists] == [8]


def test_a_declared_cluster_id_is_used_unless_volumes_say_otherwise() -> None:
    declared = cluster(clusterId="MkU3OEVBNTcwNTJENDM2Qk")
    assert lay_out(declared, (), {}, formed=False).cluster_id == "MkU3OEVBNTcwNTJENDM2Qk"
    other = NodeObservation(
        0,
        "controllers",
        frozenset({Role.CONTROLLER}),
        None,
        (VolumeObservation("v", 0, 2**30, None, True, Identity("AAAAAAAAAAAAAAAAAAAAAA", 0), "d"),),
    )
    assert lay_out(declared, (other,), {}, formed=True).cluster_id == "AAAAAAAAAAAAAAAAAAAAAA"


def test_derived_ids_are_kafka_uuids() -> None:
    ids = {derived_uuid("uid", str(number)) for number in range(2000)}
    assert len(ids) == 2000
    assert all(len(text) == 22 and not text.startswith("-") for text in ids)
