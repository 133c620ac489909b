"""Which pods serve a Service, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network
from typing import Any

import pytest

from controlplane.sandbox.proxy.balancer import AFFINITY_CLIENTS, Balancer
from controlplane.sandbox.proxy.balancers import choose
from controlplane.sandbox.proxy.endpoints import JUST_THE_MACHINE, Endpoint, Name, Network, PodRecord, ServiceRecord


def pod(name: str = "p", address: str = "127.20.0.1", **changes: Any) -> dict[str, Any]:
    meta = {"namespace": changes.pop("namespace", "ns"), "name": name, "labels": changes.pop("labels", {"app": "web"})}
    if changes.pop("deleting", False):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": changes.pop("ready", "True")}
    containers = [{"ports": changes.pop("ports", [{"name": "http", "containerPort": 8080}])}]
    spec = {"containers": containers, "initContainers": changes.pop("init", []), "nodeName": changes.pop("node", "")}
    return {
        "metadata": meta,
        "spec": spec,
        "status": {"podIP": address, "conditions": [ready], "phase": changes.pop("phase", "Running")},
    }


def service(*ingress: str, **spec: Any) -> dict[str, Any]:
    default = {"clusterIP": "127.21.0.5", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {
        "metadata": {"namespace": "ns", "name": "s", "uid": "u"},
        "spec": default | spec,
        "status": {"loadBalancer": {"ingress": [{"ip": one} for one in ingress]} if ingress else {}},
    }


NETWORK = Network(nodes={"node-a": "127.20.255.1", "node-b": "127.20.255.2"}, balancers=IPv4Network("127.20.254.0/24"))


def carried(*ingress: str, **spec: Any) -> ServiceRecord:
    record = ServiceRecord.of(service(*ingress, **spec), NETWORK if ingress else JUST_THE_MACHINE)
    assert record is not None
    return record


def serving(record: ServiceRecord, *pods: dict[str, Any]) -> list[Endpoint]:
    return list(record.endpoints(record.ports[0], [PodRecord.of(pod) for pod in pods]))


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


def test_node_ports_listen_on_the_own_address_of_each_node_too() -> None:
    record = ServiceRecord.of(service(type="NodePort", ports=[{"port": 80, "nodePort": 30123}]), NETWORK)
    assert record is not None
    assert record.ports[0].listen[2:] == (Endpoint("127.20.255.1", 30123), Endpoint("127.20.255.2", 30123))
    assert {record.ports[0].way(address) for address in record.ports[0].listen} == {("80", None)}


def test_a_local_node_port_leads_to_the_pods_of_its_node_alone() -> None:
    spec = {"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30123}]}
    record = ServiceRecord.of(service(**spec), NETWORK)
    assert record is not None
    (port,), pods = record.ports, [PodRecord.of(pod("a", "127.20.0.1", node="node-a"))]
    nodes = [port.way(address)[1] for address in port.listen]
    assert nodes == [None, None, "node-a", "node-b"], "the address that all nodes share leads to all of them"
    assert [len(record.endpoints(port, pods, node)) for node in nodes] == [1, 1, 1, 0]
    assert record.unsupported == ()


def test_a_load_balancer_listens_on_its_address_once_it_has_one() -> None:
    waiting = ServiceRecord.of(service(type="LoadBalancer"), NETWORK)
    assert waiting is not None
    assert (waiting.balanced, waiting.balancer) == (True, None)
    record = carried("127.20.254.7", type="LoadBalancer", ports=[{"port": 9094, "nodePort": 30123}])
    assert (record.balanced, record.balancer) == (True, "127.20.254.7")
    assert Endpoint("127.20.254.7", 9094) in record.ports[0].listen
    assert record.unsupported == ()


def test_the_address_of_another_load_balancer_is_left_alone() -> None:
    record = carried("203.0.113.1", type="LoadBalancer")
    assert (record.balanced, record.balancer) == (False, None)
    assert "203.0.113.1 is not this sandbox's" in record.unsupported[0]
    assert not carried("127.20.254.7", type="LoadBalancer", loadBalancerClass="a/b").balanced
    left_over = carried("127.20.254.7", type="ClusterIP")
    assert (left_over.balanced, left_over.balancer) == (False, None)


def test_addresses_of_load_balancers_follow_from_names_and_are_never_given_twice() -> None:
    network = IPv4Network("127.20.254.0/29")
    held: dict[Name, str] = {}
    for number in range(6):
        name = Name("ns", f"s{number}")
        chosen = choose(network, name, held)
        assert chosen is not None
        held[name] = chosen
        assert choose(network, name, held) == chosen
    assert len(set(held.values())) == 6
    assert choose(network, Name("ns", "more"), held) is None
    assert choose(network, Name("ns", "s0"), {}) == held[Name("ns", "s0")], "made again, it has what it had"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}, "port dns (53): UDP is not carried"),
        ({"ports": [{"port": 53, "protocol": "SCTP"}]}, "port 53: SCTP is not carried"),
        ({"type": "LoadBalancer", "loadBalancerClass": "a/b"}, "there is no load balancer of class a/b"),
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
