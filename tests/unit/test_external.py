"""Listeners for clients outside Kubernetes, on fakes: what brokers tell them stays, is true, and changes as planned."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from support.cell import combined_cluster
from support.outside import MACHINE, certified
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, passes, run_until_ready, service, some_topic

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.validate import check_cluster
from controlplane.domain.cluster import addresses, services
from controlplane.domain.cluster.addresses import Address, parse
from controlplane.domain.observation import NodeObservation, Role
from controlplane.ports import InvalidError, Object, Resource
from controlplane.services.cluster.kind import placement
from controlplane.services.cluster.observe import PODS, observe_world
from controlplane.services.cluster.plan import plan_next

INSIDE = {"name": "clients", "port": 9092}
NODE_PORT = {"name": "nodeport", "port": 9094, "type": "NodePort"}
BALANCED = {"name": "balanced", "port": 9095, "type": "LoadBalancer"}
TLS = {"tls": True, "authentication": {"type": "scram-sha-512"}}
SECURED: Object = {"security": {"nodes": "MutualTls"}}
CLASS = {"external": {"loadBalancerClass": "example.com/none"}}
"""Nobody serves it."""


def there() -> Namespace:
    """Three Kubernetes nodes with addresses of two kinds, brokers on the first."""
    namespace = Namespace()
    for number, name in enumerate((MACHINE, "other", "third"), start=1):
        namespace.outside.machine(name, InternalIP=f"10.0.0.{number}", ExternalIP=f"203.0.113.{number}")
    return namespace


async def declared(*listeners: Object, **spec: Any) -> Namespace:
    namespace = there()
    await namespace.declare(rollout={"soak": "2s"}, listeners=list(listeners), **spec)
    return namespace


async def formed(*listeners: Object, **spec: Any) -> Namespace:
    namespace = await declared(*listeners, **spec)
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await passes(namespace, 5)
    return namespace


def told(namespace: Namespace) -> dict[int, dict[str, str]]:
    """What each broker that runs tells clients."""
    pods = {name: obj["metadata"]["uid"] for (kind, _, name), obj in namespace.kube.objects.items() if kind == "pods"}
    return {int(name.rpartition("-")[2]): namespace.outside.told[uid] for name, uid in sorted(pods.items())}


def service_names(namespace: Namespace) -> set[str]:
    return {name for (kind, _, name) in namespace.kube.objects if kind == "services"}


def starts(namespace: Namespace) -> list[int]:
    return [len(uids) for _, uids in sorted(namespace.uids.items())]


def node_port(namespace: Namespace, name: str) -> int:
    return int(namespace.kube.objects["services", "kafka", name]["spec"]["ports"][0]["nodePort"])


async def condition(namespace: Namespace, kind: str) -> dict[str, Any]:
    return next((c for c in (await namespace.status())["conditions"] if c["type"] == kind), {})


async def listener(namespace: Namespace, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in (await namespace.status())["listeners"] if one["name"] == name)
    return found


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
    assert {text.rpartition(":")[0] for text in before.values()} <= certified(_decoded(pem))
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
    for change in ({"externalTrafficPolicy": "Cluster"}, {"type": "ClusterIP"}, {"selector": {}}):
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
