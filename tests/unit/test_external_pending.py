"""Listeners for clients outside Kubernetes, on fakes: what is waited for or refused, and what that holds up."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from support.external import (
    BALANCED,
    CLASS,
    INSIDE,
    NODE_PORT,
    SECURED,
    TLS,
    condition,
    declared,
    formed,
    node_port,
    service_names,
    starts,
    told,
)
from support.outside import certified
from support.simulation import KEY, DieAt, Namespace, passes, run_until_ready, service

from controlplane.ports import InvalidError, Object, Resource
from controlplane.services.cluster.observe import PODS


async def test_a_service_that_is_refused_keeps_no_broker_of_another_listener_from_moving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace = await formed(INSIDE, NODE_PORT | TLS, **SECURED)
    refuse(monkeypatch, namespace, lambda service: service["metadata"]["name"].startswith("cell-more"))
    await namespace.change(listeners=[INSIDE, NODE_PORT | TLS, NODE_PORT | TLS | {"name": "more", "port": 9099}])
    await passes(namespace, 5)
    namespace.outside.places[0] = "other"
    await namespace.kube.delete(PODS, "cell-nodes-0", "kafka")
    await passes(namespace, 30)
    assert told(namespace)[0] == {"NODEPORT": f"203.0.113.2:{node_port(namespace, 'cell-nodeport-0')}"}
    assert namespace.kafka.up == {0, 1, 2}
    assert starts(namespace) == [2, 1, 1]
    assert namespace.outside.lies == []


def refuse(monkeypatch: pytest.MonkeyPatch, namespace: Namespace, which: Callable[[Object], bool]) -> str:
    """Kubernetes does not take these Services; its words."""
    apply, words = namespace.kube.apply, "spec.ports[0].nodePort: Invalid value: provided port is already allocated"

    async def refusing(resource: Resource, body: Object, *, force: bool = True) -> Object:
        if resource.plural == "services" and which(body):
            raise InvalidError(422, "Invalid", words)
        return await apply(resource, body, force=force)

    monkeypatch.setattr(namespace.kube, "apply", refusing)
    return words


@pytest.mark.parametrize("kept", [(), (BALANCED | TLS,)], ids=["alone", "beside another"])
async def test_a_broker_that_moves_before_the_roll_without_a_listener_comes_back_with_it(
    kept: tuple[Object, ...],
) -> None:
    namespace = await formed(INSIDE, NODE_PORT | TLS, *kept, **SECURED)
    before = told(namespace)[0]
    await namespace.change(listeners=[INSIDE, *kept], rollout={"soak": "2s", "approval": "Required"})
    await passes(namespace, 5)
    namespace.outside.places[0] = "other"
    await namespace.kube.delete(PODS, "cell-nodes-0", "kafka")
    await passes(namespace, 30)
    assert starts(namespace) == [2, 1, 1]
    assert told(namespace)[0] == before, "nothing says any more where else it is reached"
    assert namespace.kafka.up == {0, 1, 2}
    pem = namespace.kube.objects["secrets", "kafka", "cell-nodes-0-tls"]["data"]["node.pem"]
    assert {text.rpartition(":")[0] for text in before.values()} <= certified(base64.b64decode(pem))
    await namespace.change(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    assert all("NODEPORT" not in one for one in told(namespace).values())


async def test_until_its_node_is_known_a_broker_that_moved_tells_nothing() -> None:
    namespace = await formed(INSIDE, NODE_PORT)
    namespace.outside.places[0] = "bare"
    namespace.outside.machine("bare", InternalDNS="bare.local")
    await namespace.kube.delete(PODS, "cell-nodes-0", "kafka")
    await passes(namespace, 20)
    pod = namespace.kube.objects["pods", "kafka", "cell-nodes-0"]
    assert pod["metadata"]["uid"] not in namespace.outside.told
    found = await condition(namespace, "Ready")
    assert (found["status"], found["reason"]) == ("False", "ExternalAddressPending")
    assert (
        "Kubernetes node bare, where broker 0 runs, has no address of type ExternalIP, InternalIP" in found["message"]
    )
    namespace.outside.machine("bare", ExternalIP="203.0.113.9")
    await run_until_ready(namespace, DieAt())
    assert told(namespace)[0]["NODEPORT"].startswith("203.0.113.9:")


async def test_without_a_load_balancer_a_new_cluster_waits_and_says_for_what() -> None:
    namespace = await declared(INSIDE, BALANCED)
    namespace.outside.balancing = False
    await passes(namespace, 30)
    found = await condition(namespace, "Ready")
    assert (found["status"], found["reason"]) == ("False", "ExternalAddressPending")
    assert "spec.listeners[balanced]: Service cell-balanced-0 (and 3 more) has no address" in found["message"]
    assert namespace.outside.told == {}
    namespace.outside.balancing = True
    await run_until_ready(namespace, DieAt())
    assert starts(namespace) == [1, 1, 1]


async def test_one_that_is_added_is_a_roll_that_nothing_blocks() -> None:
    namespace = await formed(INSIDE, **SECURED)
    await namespace.change(listeners=[INSIDE, NODE_PORT | TLS])
    one, said = service(namespace, DieAt()), set()
    for _ in range(100):
        namespace.turn()
        await one.reconcile(KEY)
        said.add((await condition(namespace, "Blocked"))["reason"])
    assert said == {"NotBlocked"}
    assert starts(namespace) == [2, 2, 2]
    assert namespace.outside.lies == []
    assert await namespace.ready()


async def test_without_an_authority_none_is_added_and_it_is_said() -> None:
    namespace = await formed(INSIDE, **SECURED)
    del namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"]
    await namespace.change(listeners=[INSIDE, NODE_PORT | TLS])
    await passes(namespace, 20)
    blocked = await condition(namespace, "Blocked")
    assert (blocked["status"], blocked["reason"]) == ("True", "ExternalAddressPending")
    assert "No certificate can be signed" in blocked["message"]
    assert starts(namespace) == [1, 1, 1]


async def test_one_that_never_comes_to_a_running_cluster_touches_no_broker_and_can_be_taken_out() -> None:
    namespace = await formed(INSIDE)
    await namespace.change(listeners=[INSIDE, BALANCED | CLASS])
    await passes(namespace, 30)
    assert starts(namespace) == [1, 1, 1]
    blocked = await condition(namespace, "Blocked")
    assert (blocked["status"], blocked["reason"]) == ("True", "ExternalAddressPending")
    assert (await condition(namespace, "Ready"))["status"] == "False"
    assert (await condition(namespace, "Available"))["status"] == "True"
    assert spared(namespace) == 1, "evictions go on"
    # A broker whose pod is lost meanwhile comes back as it was.
    await namespace.kube.delete(PODS, "cell-nodes-1", "kafka")
    await passes(namespace, 20)
    assert starts(namespace) == [1, 2, 1]
    assert namespace.kafka.up == {0, 1, 2}
    await namespace.change(listeners=[INSIDE])
    await run_until_ready(namespace, DieAt())
    assert starts(namespace) == [1, 2, 1]
    assert service_names(namespace) == {"cell-nodes", "cell-clients"}


def spared(namespace: Namespace) -> int:
    """How many of the three nodes an eviction may take."""
    return 3 - int(namespace.kube.objects["poddisruptionbudgets", "kafka", "cell-nodes"]["spec"]["minAvailable"])


async def test_where_a_machine_has_no_such_address_nobody_is_evicted_onto_it() -> None:
    namespace = await formed(INSIDE)
    assert spared(namespace) == 1
    await namespace.change(listeners=[INSIDE, NODE_PORT | {"external": {"addressTypes": ["ExternalDNS"]}}])
    await passes(namespace, 30)
    assert (await condition(namespace, "Blocked"))["reason"] == "ExternalAddressPending"
    assert starts(namespace) == [1, 1, 1]
    assert spared(namespace) == 0


async def test_a_restart_that_waits_for_a_service_that_is_refused_is_not_written_as_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace = await formed(INSIDE)
    refuse(monkeypatch, namespace, lambda service: service["metadata"]["name"].startswith("cell-nodeport"))
    await namespace.change(listeners=[INSIDE, NODE_PORT])
    one, verbs = service(namespace, DieAt()), set()
    for _ in range(20):
        namespace.turn()
        await one.reconcile(KEY)
        verbs.add((await namespace.status())["operation"]["step"]["verb"])
        held = [
            obj["spec"].get("holderIdentity")
            for (kind, _, _), obj in namespace.kube.objects.items()
            if kind == "leases"
        ]
        assert not any(held), "the cell is not taken"
    assert verbs == {"Blocked"}
    blocked = await condition(namespace, "Blocked")
    assert (blocked["status"], blocked["reason"]) == ("True", "ServiceRefused")
    assert not [obj for (kind, _, _), obj in namespace.kube.objects.items() if obj.get("reason") == "NodeRestarting"]
    assert starts(namespace) == [1, 1, 1]
    assert spared(namespace) == 1
    monkeypatch.undo()
    await run_until_ready(namespace, DieAt())
    assert starts(namespace) == [2, 2, 2]


async def test_what_kubernetes_says_of_a_node_port_reaches_the_condition_with_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = {"external": {"brokers": [{"id": 1, "nodePort": 31001}]}}
    namespace = await declared(INSIDE, NODE_PORT | outside)
    words = refuse(monkeypatch, namespace, lambda service: service["spec"]["ports"][0].get("nodePort") == 31001)
    await passes(namespace, 5)
    found = await condition(namespace, "Ready")
    assert found["reason"] == "ServiceRefused"
    assert "spec.listeners[nodeport].external.brokers[1].nodePort: Kubernetes refuses Service" in found["message"]
    assert words in found["message"]
    monkeypatch.undo()
    await run_until_ready(namespace, DieAt())
