"""Listeners for clients outside Kubernetes, as values: specs that are refused, Services that differ, addresses."""

from __future__ import annotations

import pytest
from support.cell import combined_cluster
from support.external import BALANCED, CLASS, INSIDE, NODE_PORT

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.validate import check_cluster
from controlplane.domain.cluster import addresses, services
from controlplane.domain.cluster.addresses import Address, parse
from controlplane.domain.observation import NodeObservation, Role
from controlplane.ports import Object


def cluster(*listeners: Object) -> KafkaCluster:
    body = combined_cluster(listeners=list(listeners))
    body["metadata"] |= {"namespace": "kafka", "uid": "u"}
    return KafkaCluster.model_validate(body)


@pytest.mark.parametrize(
    ("listeners", "field", "words"),
    [
        ([INSIDE | {"external": {}}], "spec.listeners[clients].external", "needs type NodePort or LoadBalancer"),
        ([BALANCED | {"external": {"nodePort": 31000}}], "spec.listeners[balanced].external", "need type NodePort"),
        (
            [NODE_PORT | CLASS],
            "spec.listeners[nodeport].external.loadBalancerClass",
            "needs type LoadBalancer",
        ),
        (
            [NODE_PORT | {"external": {"nodePort": 31000, "brokers": [{"id": 0, "nodePort": 31000}]}}],
            "spec.listeners[nodeport].external.brokers[0].nodePort",
            "31000 is asked for by spec.listeners[nodeport].external.nodePort already",
        ),
        (
            [
                NODE_PORT | {"external": {"nodePort": 31000}},
                NODE_PORT | {"name": "more", "port": 9099, "external": {"nodePort": 31000}},
            ],
            "spec.listeners[more].external.nodePort",
            "31000 is asked for",
        ),
        (
            [NODE_PORT | {"external": {"brokers": [{"id": 0}, {"id": 0}]}}],
            "spec.listeners[nodeport].external.brokers",
            "two entries have the id 0",
        ),
        (
            [NODE_PORT | {"external": {"annotations": {"kfleet.dev/service-hash": "x"}}}],
            "spec.listeners[nodeport].external.annotations",
            "the operator's",
        ),
        (
            [NODE_PORT | {"external": {"advertisedHost": "kafka.example.com:9094"}}],
            "spec.listeners[nodeport].external.advertisedHost",
            "brokers[].advertisedPort is for that",
        ),
        (
            [NODE_PORT | {"external": {"bootstrapHost": "10.0.0.1:9094"}}],
            "spec.listeners[nodeport].external.bootstrapHost",
            "take a port out",
        ),
        (
            [NODE_PORT | {"external": {"brokers": [{"id": 1, "advertisedHost": "edge.example.com:443"}]}}],
            "spec.listeners[nodeport].external.brokers[1].advertisedHost",
            "advertisedPort is for that",
        ),
    ],
)
def test_what_belongs_to_no_listener_of_its_type(listeners: list[Object], field: str, words: str) -> None:
    problems = check_cluster(cluster(*listeners))
    assert [path for path, _ in problems] == [field]
    assert words in problems[0][1]


def test_addresses_of_the_sixth_version_are_hosts() -> None:
    outside = {
        "advertisedHost": "2001:db8::{nodeId}",
        "bootstrapHost": "2001:db8::1",
        "brokers": [{"id": 1, "advertisedHost": "2001:DB8:0::2"}, {"id": 2, "advertisedHost": "edge.example.com"}],
    }
    assert check_cluster(cluster(NODE_PORT | {"external": outside})) == []


def test_what_kubernetes_adds_to_a_service_is_no_difference_and_what_people_edit_is() -> None:
    outside = {"external": {"annotations": {"a": "b"}}}
    wanted = services.services(cluster(NODE_PORT | outside), [0])[2].manifest
    found: Object = {
        "metadata": wanted["metadata"] | {"annotations": wanted["metadata"]["annotations"] | {"cloud/id": "7"}},
        "spec": wanted["spec"] | {"clusterIP": "10.0.0.1", "sessionAffinity": "None"},
    }
    found["spec"]["ports"] = [wanted["spec"]["ports"][0] | {"nodePort": 30001, "protocol": "TCP"}]
    assert not services.differs(wanted, found)
    changes: list[Object] = [{"externalTrafficPolicy": "Cluster"}, {"type": "ClusterIP"}, {"selector": {}}]
    for change in changes:
        assert services.differs(wanted, found | {"spec": found["spec"] | change})
    fewer = services.services(cluster(NODE_PORT), [0])[2].manifest
    assert services.differs(fewer, found), "an annotation that is declared no more"
    asked = NODE_PORT | {"external": {"annotations": {"a": "b"}, "brokers": [{"id": 0, "nodePort": 30002}]}}
    assert services.differs(services.services(cluster(asked), [0])[2].manifest, found)


def test_a_class_of_load_balancers_is_ours_only_where_one_is_declared() -> None:
    """A webhook may set it where none is, and Kubernetes never changes it."""
    (wanted, classy) = (services.services(cluster(item), [0])[2].manifest for item in (BALANCED, BALANCED | CLASS))
    theirs = {"loadBalancerClass": "example.com/theirs"}
    assert not services.differs(wanted, wanted | {"spec": wanted["spec"] | theirs})
    assert services.differs(classy, classy | {"spec": classy["spec"] | theirs})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("203.0.113.1:9094", Address("203.0.113.1", 9094)),
        ("[2001:db8::1]:9094", Address("2001:db8::1", 9094)),
        ("kafka.example.com:443", Address("kafka.example.com", 443)),
        ("", None),
        (":9094", None),
        ("host:port", None),
    ],
)
def test_addresses_are_read_as_they_are_written(text: str, found: Address | None) -> None:
    assert parse(text) == found
    assert found is None or str(found) == text


def test_a_listener_with_a_load_balancer_asks_for_no_node() -> None:
    node = NodeObservation(0, "nodes", frozenset({Role.BROKER}), None, ())
    written = {"cell-nodes-0-advertised": {"node-a": "", "_epoch": "2"}}
    assert addresses.machines(cluster(INSIDE, BALANCED), (node,), written) == set()
    assert addresses.machines(cluster(INSIDE, NODE_PORT), (node,), written) == {"node-a"}
