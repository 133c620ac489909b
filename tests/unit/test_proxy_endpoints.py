"""Which pods serve a Service, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from controlplane.sandbox.proxy.balancer import AFFINITY_CLIENTS, Balancer
from controlplane.sandbox.proxy.endpoints import Endpoint, PodRecord, ServiceRecord


def pod(name: str = "p", address: str = "127.20.0.1", **changes: Any) -> dict[str, Any]:
    meta = {"namespace": changes.pop("namespace", "ns"), "name": name, "labels": changes.pop("labels", {"app": "web"})}
    if changes.pop("deleting", False):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": changes.pop("ready", "True")}
    containers = [{"ports": changes.pop("ports", [{"name": "http", "containerPort": 8080}])}]
    spec = {"containers": containers, "initContainers": changes.pop("init", [])}
    return {
        "metadata": meta,
        "spec": spec,
        "status": {"podIP": address, "conditions": [ready], "phase": changes.pop("phase", "Running")},
    }


def service(**spec: Any) -> dict[str, Any]:
    default = {"clusterIP": "127.21.0.5", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"metadata": {"namespace": "ns", "name": "s", "uid": "u"}, "spec": default | spec}


def carried(**spec: Any) -> ServiceRecord:
    record = ServiceRecord.of(service(**spec))
    assert record is not None
    return record


def serving(record: ServiceRecord, *pods: dict[str, Any]) -> list[tuple[str, int]]:
    return [tuple(one) for one in record.endpoints(record.ports[0], [PodRecord.of(pod) for pod in pods])]


@pytest.mark.parametrize(
    ("changes", "serves"),
    [
        ({}, True),
        ({"ready": "False"}, False),
        ({"ready": "Unknown"}, False),
        ({"deleting": True}, False),
        ({"address": ""}, False),
        ({"phase": "Succeeded"}, False),
        ({"phase": "Failed"}, False),
        ({"labels": {"app": "other"}}, False),
        ({"labels": {"app": "web", "more": "labels"}}, True),
        ({"namespace": "elsewhere"}, False),
    ],
)
def test_who_serves(changes: dict[str, Any], serves: bool) -> None:  # noqa: FBT001
    assert bool(serving(carried(), pod(**changes))) is serves


@pytest.mark.parametrize("changes", [{"ready": "False"}, {"deleting": True}])
def test_publish_not_ready_addresses(changes: dict[str, Any]) -> None:
    assert serving(carried(publishNotReadyAddresses=True), pod(**changes)) == [("127.20.0.1", 8080)]


def test_a_finished_pod_is_never_published() -> None:
    assert serving(carried(publishNotReadyAddresses=True), pod(phase="Failed")) == []


def test_target_port_names_are_resolved_in_each_pod() -> None:
    record = carried(ports=[{"port": 80, "targetPort": "http"}])
    sidecar = [{"restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 7}]}]
    pods = [
        pod("a", "127.20.0.1"),
        pod("b", "127.20.0.2", ports=[{"name": "http", "containerPort": 9090}]),
        pod("c", "127.20.0.3", ports=[{"name": "other", "containerPort": 1}]),
        pod("d", "127.20.0.4", ports=[{"name": "http", "containerPort": 53, "protocol": "UDP"}]),
        pod("e", "127.20.0.5", ports=[], init=sidecar),
    ]
    assert serving(record, *pods) == [("127.20.0.1", 8080), ("127.20.0.2", 9090), ("127.20.0.5", 7)]


def test_target_port_defaults_to_the_port() -> None:
    assert serving(carried(ports=[{"port": 9092}]), pod()) == [("127.20.0.1", 9092)]


@pytest.mark.parametrize(
    "spec",
    [{"clusterIP": "None"}, {"clusterIP": ""}, {"type": "ExternalName"}, {"selector": None}, {"selector": {}}],
)
def test_services_that_are_none_of_the_proxys_business(spec: dict[str, Any]) -> None:
    assert ServiceRecord.of(service(**spec)) is None


def test_node_ports_listen_on_the_nodes_address() -> None:
    record = carried(type="NodePort", ports=[{"port": 80, "nodePort": 30123}])
    assert record.ports[0].listen == (Endpoint("127.21.0.5", 80), Endpoint("127.0.0.1", 30123))
    assert record.unsupported == ()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}, "port dns (53): UDP is not carried"),
        ({"ports": [{"port": 53, "protocol": "SCTP"}]}, "port 53: SCTP is not carried"),
        ({"type": "LoadBalancer"}, "no load balancer"),
        ({"externalIPs": ["10.0.0.1"]}, "externalIPs: not carried"),
        ({"internalTrafficPolicy": "Local"}, "internalTrafficPolicy: Local is treated as Cluster"),
        ({"sessionAffinity": "ClientIP"}, "sessionAffinity ClientIP: kept by address"),
    ],
)
def test_what_is_not_supported_is_said(spec: dict[str, Any], words: str) -> None:
    assert any(words in text for text in carried(**spec).unsupported)


def test_round_robin_is_fair_and_survives_changes() -> None:
    balancer = Balancer()
    assert balancer.pick("c", 0.0) is None
    one, two, three = (Endpoint(f"127.20.0.{n}", 80) for n in (1, 2, 3))
    balancer.endpoints = (one, two, three)
    assert Counter(balancer.pick("c", 0.0) for _ in range(9)) == {one: 3, two: 3, three: 3}
    balancer.endpoints = (two,)
    assert {balancer.pick("c", 0.0) for _ in range(3)} == {two}


def test_affinity_lasts_until_its_endpoint_or_its_time_is_over() -> None:
    balancer = Balancer(affinity_seconds=10)
    one, two = Endpoint("127.20.0.1", 80), Endpoint("127.20.0.2", 80)
    balancer.endpoints = (one, two)
    first = balancer.pick("a", 0.0)
    assert [balancer.pick("a", at) for at in (1.0, 9.0, 18.0)] == [first] * 3
    other = balancer.pick("b", 18.0)
    assert other != first
    assert balancer.pick("a", 28.0) in (one, two)  # 10 s after its last connection it may go elsewhere
    balancer.endpoints = (one,)
    assert balancer.pick("b", 18.5) == one
    for client in range(AFFINITY_CLIENTS + 100):
        balancer.pick(str(client), 20.0)
    assert len(balancer._clients) == AFFINITY_CLIENTS
