"""One controller and three brokers with two disks each: topics through their life, then a fourth broker, which goes
again.

The tests run in order on one cluster.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ClusterMetadata
from support.cell import Cell, combined_cluster, topic


def separate_cluster(brokers: int) -> dict[str, Any]:
    cluster = combined_cluster()
    pool = cluster["spec"]["nodePools"][0]
    disks = {"volumes": [{"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}]}
    cluster["spec"]["nodePools"] = [
        pool | {"name": "controllers", "roles": ["Controller"], "replicas": 1, "zones": ["a"]},
        pool | {"name": "brokers", "roles": ["Broker"], "replicas": brokers, "storage": disks},
    ]
    return cluster


def topic_ready(cell: Cell, name: str, *, reason: str = "AsDeclared") -> bool:
    found = cell.get("kafkatopics.kfleet.dev", name)
    return any(
        c["type"] == "Ready" and c["reason"] == reason and c["observedGeneration"] == found["metadata"]["generation"]
        for c in found.get("status", {}).get("conditions", [])
    )


def kafka_metadata(cell: Cell) -> ClusterMetadata:
    """As a real client sees it: by a broker that may be a moment behind the controller."""
    return AdminClient({"bootstrap.servers": cell.bootstrap()}).list_topics(timeout=60)


def wait_partitions(cell: Cell, name: str, number: int) -> None:
    def there() -> bool:
        topics = kafka_metadata(cell).topics
        return name in topics and len(topics[name].partitions) == number

    cell.wait(f"{number} partitions of {name} in Kafka", there)


def test_create_with_two_disks_a_broker(cell: Cell) -> None:
    cell.apply(separate_cluster(3))
    cell.wait_ready(240)
    claims = {claim["metadata"]["name"] for claim in cell.get("pvc")["items"]}
    assert {"data-0-cell-brokers-1", "data-1-cell-brokers-1"} <= claims


def test_two_hundred_topics_in_bulk(cell: Cell) -> None:
    topics = [topic(f"bulk-{number:03}", partitions=1, config={"retention.ms": 600000}) for number in range(200)]
    started = time.monotonic()
    cell.apply(*topics)

    def all_ready() -> bool:
        items = cell.get("kafkatopics.kfleet.dev")["items"]
        return sum(bool(item.get("status", {}).get("topicId")) for item in items) == len(topics)

    cell.wait("200 topics", all_ready, 120)
    print(f"200 topics declared and created in {time.monotonic() - started:.1f} s")

    def in_bulk() -> int:
        return sum(name.startswith("bulk-") for name in kafka_metadata(cell).topics)

    cell.wait("200 topics in Kafka", lambda: in_bulk() == len(topics))


def test_a_topic_grows_changes_and_is_retained(cell: Cell) -> None:
    cell.apply(topic("life", partitions=2, config={"retention.ms": 600000, "cleanup.policy": "delete"}))
    cell.wait("created", lambda: topic_ready(cell, "life"), 60)
    wait_partitions(cell, "life", 2)
    cell.patch({"partitions": 5, "config": {"retention.ms": 700000}}, "kafkatopics.kfleet.dev", "life")
    cell.wait("grown", lambda: topic_ready(cell, "life"), 60)
    wait_partitions(cell, "life", 5)
    assert cell.get("kafkatopics.kfleet.dev", "life")["status"]["partitions"] == 5
    cell.kubectl("delete", "kafkatopics.kfleet.dev", "life")
    cell.apply(topic("again", partitions=1))
    cell.wait("another topic, after the deletion was seen", lambda: topic_ready(cell, "again"), 60)
    assert len(kafka_metadata(cell).topics["life"].partitions) == 5, "the topic outlives its object"
    cell.apply(topic("life", partitions=5, config={"retention.ms": 700000}))
    cell.wait("adopted", lambda: topic_ready(cell, "life"), 60)


@pytest.mark.parametrize(
    ("name", "spec", "reason"),
    [
        ("many", {"replicas": 9}, "ReplicationFactorTooLarge"),
        ("twice", {"topicName": "again"}, "TopicNameTaken"),
        ("fewer", {"topicName": "life-copy", "clusterRef": {"name": "nowhere"}}, "ClusterNotFound"),
    ],
)
def test_a_topic_that_cannot_be_is_refused_with_the_field(
    cell: Cell, name: str, spec: dict[str, Any], reason: str
) -> None:
    cell.apply(topic(name) | {"spec": topic(name)["spec"] | spec})
    cell.wait(reason, lambda: topic_ready(cell, name, reason=reason), 60)
    conditions = {c["type"]: c for c in cell.get("kafkatopics.kfleet.dev", name)["status"]["conditions"]}
    assert conditions["Ready"]["message"].startswith("spec.")
    cell.kubectl("delete", "kafkatopics.kfleet.dev", name)


def test_another_broker_joins_and_restarts_nobody(cell: Cell) -> None:
    before = cell.pod_uids()
    cell.apply(separate_cluster(4))
    cell.wait("four brokers", lambda: len(cell.cluster()["status"].get("nodes", [])) == 5 and cell.is_ready(), 180)
    after = cell.pod_uids()
    assert {node: after[node] for node in before} == before
    cell.wait("a client to know all four", lambda: len(kafka_metadata(cell).brokers) == 4)
    cell.apply(topic("wide", partitions=1, replicas=4))
    cell.wait("a topic on all four", lambda: topic_ready(cell, "wide"), 60)


def test_what_arrives_later_is_refused_and_touches_nothing(cell: Cell) -> None:
    before = cell.pod_uids()
    cell.apply(separate_cluster(3))
    cell.wait("the refusal", lambda: cell.condition("Ready")["reason"] == "ScaleDownRefused", 60)
    assert "spec.nodePools[brokers].replicas" in cell.condition("Ready")["message"]
    assert cell.pod_uids() == before
    cell.apply(separate_cluster(4))
    cell.wait_ready(60)
    assert cell.pod_uids() == before


def test_it_goes_once_nothing_has_more_replicas_than_brokers_stay(cell: Cell) -> None:
    """What it waits for need not wait for it: a person asks for fewer replicas while the number stands lowered."""
    before = cell.pod_uids()
    cell.apply(separate_cluster(3))
    cell.wait("the refusal", lambda: cell.condition("Ready")["reason"] == "ScaleDownRefused", 60)
    cell.apply(
        {
            "apiVersion": "kfleet.dev/v1alpha1",
            "kind": "KafkaRebalance",
            "metadata": {"name": "fewer"},
            "spec": {
                "clusterRef": {"name": cell.name},
                "goal": {"type": "ChangeReplicas", "replicas": 3, "topics": ["wide"]},
                "limits": {"throttle": "10Mi"},
                "approval": "NotRequired",
            },
        }
    )
    cell.wait_ready()
    assert cell.pod_uids() == {node: uid for node, uid in before.items() if node != 4}
    cell.wait("a client to know", lambda: sorted(kafka_metadata(cell).brokers) == [1, 2, 3])
    assert sorted(kafka_metadata(cell).topics["wide"].partitions[0].replicas) == [1, 2, 3]
