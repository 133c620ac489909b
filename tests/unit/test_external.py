"""Listeners for clients outside Kubernetes, on fakes: what brokers tell them stays, is true, and changes as planned."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from support.external import (
    BALANCED,
    INSIDE,
    NODE_PORT,
    SECURED,
    TLS,
    condition,
    declared,
    formed,
    listener,
    node_port,
    service_names,
    starts,
    there,
    told,
)
from support.outside import MACHINE, certified
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, passes, run_until_ready, service

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.ports import Object
from controlplane.services.cluster.kind import placement
from controlplane.services.cluster.observe import PODS, observe_world
from controlplane.services.cluster.plan import plan_next


async def test_a_node_port_of_each_broker_on_the_node_that_it_runs_on() -> None:
    namespace = there()
    namespace.outside.places = {1: "other"}
    await namespace.declare(
        rollout={"soak": "2s"},
        listeners=[
            INSIDE,
            NODE_PORT | TLS,
        ],
        **SECURED,
    )
    await run_until_ready(namespace, DieAt())
    ports = [node_port(namespace, f"cell-nodeport-{node}") for node in range(3)]
    hosts = ["203.0.113.1", "203.0.113.2", "203.0.113.1"]
    assert told(namespace) == {node: {"NODEPORT": f"{hosts[node]}:{ports[node]}"} for node in range(3)}
    assert len(set(ports)) == 3
    begin = node_port(namespace, "cell-nodeport")
    found = await listener(namespace, "nodeport")
    assert found["bootstrapServers"] == [f"203.0.113.1:{begin}", f"203.0.113.2:{begin}"]
    assert found["brokers"] == [{"id": node, "address": f"{hosts[node]}:{ports[node]}"} for node in range(3)]
    assert (await namespace.status())["bootstrapServers"] == ["127.9.0.1:9092", f"203.0.113.1:{begin}"]
    for node in range(3):
        spec = namespace.kube.objects["services", "kafka", f"cell-nodeport-{node}"]["spec"]
        assert (spec["type"], spec["externalTrafficPolicy"]) == ("NodePort", "Local")
        assert spec["selector"]["kfleet.dev/node-id"] == str(node)
    assert starts(namespace) == [1, 1, 1]
    assert namespace.outside.lies == []


async def test_the_file_tells_clients_outside_nothing_of_its_own() -> None:
    namespace = await formed(INSIDE, NODE_PORT)
    data = namespace.kube.objects["configmaps", "kafka", "cell-nodes-0-config"]["data"]
    lines = dict(line.split("=", 1) for line in data["server.properties"].splitlines())
    assert "NODEPORT://${env:KFLEET_NODE_HOST}:9094" in lines["listeners"]
    assert "NODEPORT" not in lines["advertised.listeners"]
    assert "CLIENTS://" in lines["advertised.listeners"]


async def test_a_load_balancer_of_each_broker() -> None:
    namespace = await formed(INSIDE, BALANCED)
    given = namespace.outside.balancers
    assert told(namespace) == {node: {"BALANCED": f"{given[f'cell-balanced-{node}']}:9095"} for node in range(3)}
    assert (await listener(namespace, "balanced"))["bootstrapServers"] == [f"{given['cell-balanced']}:9095"]
    spec = namespace.kube.objects["services", "kafka", "cell-balanced-1"]["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("LoadBalancer", "Cluster")


async def test_addresses_stay_when_brokers_are_restarted_and_nothing_is_written_at_rest() -> None:
    namespace = await formed(INSIDE, NODE_PORT, BALANCED)
    before = told(namespace)
    await namespace.change(nodePools=[_pool(heap="300Mi")])
    await run_until_ready(namespace, DieAt())
    assert starts(namespace) == [2, 2, 2]
    assert told(namespace) == before
    await passes(namespace, 5)
    quiet = DieAt()
    one = service(namespace, quiet)
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    assert quiet.calls == []


def _pool(**jvm: str) -> Object:
    return {
        "name": "nodes",
        "roles": ["Controller", "Broker"],
        "replicas": 3,
        "zones": ["a", "b", "c"],
        "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
        "jvm": jvm,
    }


async def test_a_broker_that_moves_tells_where_it_is_and_is_not_restarted_for_it() -> None:
    namespace = await formed(INSIDE, NODE_PORT | TLS, **SECURED)
    namespace.outside.places[0] = "other"
    await namespace.kube.delete(PODS, "cell-nodes-0", "kafka")
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 20)
    assert told(namespace)[0] == {"NODEPORT": f"203.0.113.2:{node_port(namespace, 'cell-nodeport-0')}"}
    assert starts(namespace) == [2, 1, 1]
    assert namespace.outside.lies == []
    data = namespace.kube.objects["configmaps", "kafka", "cell-nodes-0-advertised"]["data"]
    assert data.keys() == {"other"}


async def test_another_address_is_a_planned_restart_of_that_broker_and_certificates_are_for_both() -> None:
    namespace = await formed(INSIDE, BALANCED | TLS, **SECURED)
    old = told(namespace)[1]["BALANCED"].removesuffix(":9095")
    namespace.outside.balancers["cell-balanced-1"] = "127.9.2.77"
    seen: list[set[str]] = []
    reasons: set[str] = set()
    one = service(namespace, DieAt())
    for _ in range(60):
        namespace.turn()
        await one.reconcile(KEY)
        if starts(namespace) == [1, 1, 1]:
            pem = namespace.kube.objects["secrets", "kafka", "cell-nodes-1-tls"]["data"]["node.pem"]
            seen.append(certified(_decoded(pem)) & {old, "127.9.2.77"})
            reasons |= await _reasons(namespace)
    assert seen[-1] == {old, "127.9.2.77"}, "before it is restarted"
    assert "AdvertisedAddressChanged" in reasons
    assert starts(namespace) == [1, 2, 1]
    assert told(namespace)[1] == {"BALANCED": "127.9.2.77:9095"}
    assert namespace.outside.lies == []
    await passes(namespace, 20)
    pem = namespace.kube.objects["secrets", "kafka", "cell-nodes-1-tls"]["data"]["node.pem"]
    assert old not in certified(_decoded(pem))
    assert await namespace.ready()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


async def _reasons(namespace: Namespace) -> set[str]:
    """Why nodes would be restarted now, as `kfleet cluster plan` says it."""
    obj = next(obj for (kind, _, _), obj in namespace.kube.objects.items() if kind == "kafkaclusters")
    world = await observe_world(
        namespace.kube,
        namespace.admins,
        namespace.clock,
        KafkaCluster.model_validate(obj),
        certificates=namespace.certificates,
    )
    plan = plan_next(world, placement(SETTINGS), namespace.clock.now()).plan
    return {step.why for step in plan.steps} if plan is not None else set()


async def test_an_address_that_changes_again_is_another_plan() -> None:
    """An approval of the first restart is none of the second."""
    namespace = await formed(INSIDE, BALANCED)
    hashes = []
    for address in ("127.9.2.77", "127.9.2.78"):
        namespace.outside.balancers["cell-balanced-1"] = address
        await passes(namespace, 40)
        assert told(namespace)[1] == {"BALANCED": f"{address}:9095"}
        hashes.append((await namespace.status())["lastOperation"]["planHash"])
    assert len(set(hashes)) == 2
    assert starts(namespace) == [1, 3, 1]


async def test_an_address_that_is_gone_for_a_moment_changes_nothing() -> None:
    namespace = await formed(INSIDE, BALANCED)
    before, shown = told(namespace), await listener(namespace, "balanced")
    namespace.outside.balancing = False
    for (kind, _, _), obj in namespace.kube.objects.items():
        if kind == "services":
            obj.pop("status", None)
    await passes(namespace, 10)
    assert (await condition(namespace, "Ready"))["reason"] == "ExternalAddressPending"
    assert await listener(namespace, "balanced") == shown
    namespace.outside.balancing = True
    await passes(namespace, 10)
    assert await namespace.ready()
    assert told(namespace) == before
    assert starts(namespace) == [1, 1, 1]


async def test_the_order_of_several_addresses_means_nothing() -> None:
    namespace = await formed(INSIDE, NODE_PORT, BALANCED)
    before = told(namespace)
    namespace.outside.listed_first["cell-balanced-1"] = "127.9.2.77"
    addresses = namespace.kube.objects["nodes", "", MACHINE]["status"]["addresses"]
    addresses.insert(0, {"type": "ExternalIP", "address": "203.0.113.77"})
    await passes(namespace, 40)
    assert told(namespace) == before
    assert starts(namespace) == [1, 1, 1]
    assert await namespace.ready()
    namespace.outside.balancers["cell-balanced-1"] = "127.9.2.78"
    addresses[:] = addresses[:1]
    await passes(namespace, 90)
    assert told(namespace)[1]["BALANCED"] == "127.9.2.77:9095", "the former one is gone"
    assert {one["NODEPORT"].partition(":")[0] for one in told(namespace).values()} == {"203.0.113.77"}
    assert starts(namespace) == [2, 2, 2]


async def test_which_traffic_a_service_takes_changes_with_what_its_broker_tells() -> None:
    named = NODE_PORT | {"external": {"advertisedHost": "kafka-{nodeId}.example.com"}}
    namespace = await formed(INSIDE, NODE_PORT)
    await namespace.change(listeners=[INSIDE, named], rollout={"soak": "2s", "approval": "Required"})

    def serving() -> list[tuple[bool, str]]:
        """Of brokers that tell clients where they are: whether by a name, and which traffic the Service takes."""
        found = []
        for node in range(3):
            pod = namespace.kube.objects.get(("pods", "kafka", f"cell-nodes-{node}"), {"metadata": {"uid": ""}})
            made = namespace.kube.objects["services", "kafka", f"cell-nodeport-{node}"]
            if one := namespace.outside.told.get(pod["metadata"]["uid"]):
                found.append((one["NODEPORT"].startswith("kafka-"), made["spec"]["externalTrafficPolicy"]))
        return found

    await passes(namespace, 20)
    assert serving() == [(False, "Local")] * 3
    await namespace.change(listeners=[INSIDE, named], rollout={"soak": "2s"})
    one, seen = service(namespace, DieAt()), set()
    for _ in range(100):
        namespace.turn()
        await one.reconcile(KEY)
        seen |= {*serving()}
    assert seen == {(False, "Local"), (True, "Cluster")}
    assert serving() == [(True, "Cluster")] * 3
    assert starts(namespace) == [2, 2, 2]
    assert await namespace.ready()


async def test_a_node_port_that_clients_are_told_never_moves() -> None:
    namespace = await formed(INSIDE, NODE_PORT)
    port, before = node_port(namespace, "cell-nodeport-1"), told(namespace)
    asked = NODE_PORT | {"external": {"brokers": [{"id": 1, "nodePort": 31001}]}}
    await namespace.change(listeners=[INSIDE, asked])
    await passes(namespace, 20)
    found = await condition(namespace, "Ready")
    assert found["reason"] == "ListenerChangeRefused"
    assert "spec.listeners[nodeport].external.brokers[1].nodePort: broker 1 tells" in found["message"]
    assert node_port(namespace, "cell-nodeport-1") == port
    await namespace.change(listeners=[INSIDE, NODE_PORT | {"external": {"brokers": [{"id": 1, "nodePort": port}]}}])
    await run_until_ready(namespace, DieAt())
    # What somebody has moved by hand goes back to where it was declared and told.
    namespace.kube.objects["services", "kafka", "cell-nodeport-1"]["spec"]["ports"][0]["nodePort"] = 31001
    await passes(namespace, 5)
    assert node_port(namespace, "cell-nodeport-1") == port
    await run_until_ready(namespace, DieAt())
    assert told(namespace) == before
    assert starts(namespace) == [1, 1, 1]


async def test_people_may_say_where_brokers_are() -> None:
    outside = {
        "advertisedHost": "kafka-{nodeId}.example.com",
        "bootstrapHost": "kafka.example.com",
        "nodePort": 31000,
        "annotations": {"example.com/zone": "public"},
        "brokers": [
            {"id": 1, "advertisedHost": "edge.example.com", "advertisedPort": 443, "nodePort": 31001},
            {"id": 2, "advertisedHost": "2001:DB8:0::2", "annotations": {"example.com/zone": "private"}},
        ],
    }
    namespace = await formed(INSIDE, NODE_PORT | TLS | {"external": outside}, **SECURED)
    assert told(namespace) == {
        0: {"NODEPORT": f"kafka-0.example.com:{node_port(namespace, 'cell-nodeport-0')}"},
        1: {"NODEPORT": "edge.example.com:443"},
        2: {"NODEPORT": f"[2001:db8::2]:{node_port(namespace, 'cell-nodeport-2')}"},
    }
    assert (await listener(namespace, "nodeport"))["bootstrapServers"] == ["kafka.example.com:31000"]
    made = {node: namespace.kube.objects["services", "kafka", f"cell-nodeport-{node}"] for node in range(3)}
    assert made[1]["spec"]["ports"][0]["nodePort"] == 31001
    assert {one["spec"]["externalTrafficPolicy"] for one in made.values()} == {"Cluster"}
    assert made[0]["metadata"]["annotations"]["example.com/zone"] == "public"
    assert made[2]["metadata"]["annotations"]["example.com/zone"] == "private"
    pem = namespace.kube.objects["secrets", "kafka", "cell-nodes-1-tls"]["data"]["node.pem"]
    assert {"edge.example.com", "kafka.example.com"} <= certified(_decoded(pem))
    assert namespace.outside.lies == []


async def test_two_brokers_at_one_address_are_told() -> None:
    namespace = await declared(INSIDE, BALANCED | {"external": {"advertisedHost": "kafka.example.com"}})
    await passes(namespace, 20)
    found = await condition(namespace, "Ready")
    assert found["reason"] == "ExternalAddressShared"
    assert "kafka.example.com:9095" in found["message"]


async def test_a_listener_that_is_taken_out_serves_until_the_last_broker_is_restarted() -> None:
    namespace = await formed(INSIDE, NODE_PORT | TLS, **SECURED)
    address = told(namespace)[2]["NODEPORT"].partition(":")[0]
    await namespace.change(listeners=[INSIDE])
    one = service(namespace, DieAt())
    for _ in range(100):
        running = namespace.kube.objects.get(("pods", "kafka", "cell-nodes-2"), {}).get("metadata", {}).get("uid")
        if running == namespace.uids["cell-nodes-2"][0]:
            pem = namespace.kube.objects["secrets", "kafka", "cell-nodes-2-tls"]["data"]["node.pem"]
            assert {address, "cell-nodeport.kafka.svc"} <= certified(_decoded(pem))
            assert {"cell-nodeport", "cell-nodeport-2"} <= service_names(namespace)
        namespace.turn()
        await one.reconcile(KEY)
    assert await namespace.ready()
    assert starts(namespace) == [2, 2, 2]
    assert service_names(namespace) == {"cell-nodes", "cell-clients"}
    pem = namespace.kube.objects["secrets", "kafka", "cell-nodes-2-tls"]["data"]["node.pem"]
    assert not certified(_decoded(pem)) & {address, "cell-nodeport.kafka.svc"}


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_killed_anywhere_each_broker_starts_once_with_what_is_true(phase: str) -> None:
    calls = DieAt()
    whole = await declared(INSIDE, NODE_PORT, BALANCED)
    await run_until_ready(whole, calls)
    for number in range(1, len(calls.calls) + 1):
        namespace = await declared(INSIDE, NODE_PORT, BALANCED)
        die = DieAt(number, phase)
        one = service(namespace, die)
        for _ in range(60):
            namespace.turn()
            with suppress(Killed):
                await one.reconcile(KEY)
            if die.number == len(die.calls) + (phase == "before"):
                one = service(namespace, DieAt())
            if await namespace.ready():
                break
        assert await namespace.ready(), (number, await namespace.status())
        assert starts(namespace) == [1, 1, 1]
        assert {node: one.keys() for node, one in told(namespace).items()} == {
            node: {"NODEPORT", "BALANCED"} for node in range(3)
        }


async def test_the_type_of_a_listener_never_changes() -> None:
    namespace = await formed(INSIDE, NODE_PORT)
    await namespace.change(listeners=[INSIDE | {"type": "NodePort"}, NODE_PORT])
    await passes(namespace, 3)
    found = await condition(namespace, "Ready")
    assert found["reason"] == "ListenerChangeRefused"
    assert "spec.listeners[clients].type" in found["message"]
    assert starts(namespace) == [1, 1, 1]
    await namespace.change(listeners=[INSIDE, NODE_PORT])
    await run_until_ready(namespace, DieAt())
    assert starts(namespace) == [1, 1, 1]
