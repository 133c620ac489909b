"""`kfleet op` without an API server: what is told, in which order, and that a word is never lost or given twice."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_kube import FakeKube

from controlplane.api.operation import Operation
from controlplane.cli import local, op_run, operator_settings
from controlplane.cli.connect import Connection
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import CLUSTERS
from controlplane.cli.op_find import Carried, all_carried, carried, carriers, find_operation
from controlplane.cli.op_view import lock_words, next_commands, worst_first
from controlplane.cli.op_watch import Teller, exit_code
from controlplane.cli.waiting import awaits_approval
from controlplane.domain.observation import ClusterObservation
from controlplane.ports import ConflictError, ForbiddenError, NotFoundError, Object, Resource
from controlplane.services.cluster.plan import ClusterPlan
from controlplane.services.intercept import intercept_kube
from controlplane.services.keys import cluster_key
from controlplane.services.lease import LEASES, LeaseHolder
from controlplane.services.queue import Key
from controlplane.settings import OperatorSettings

BEGAN = "2026-01-02T03:04:05Z"


def operation(identity: str = "roll-1-a", **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "kind": "Roll",
        "planHash": f"hash of {identity}",
        "goal": "Version 4.3.1",
        "startedAt": BEGAN,
    } | more


def cluster(name: str = "orders", namespace: str = "kafka", **status: Any) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaCluster", "metadata": meta, "status": status}


def one(**more: Any) -> Carried:
    return next(carried(cluster(operation=operation(**more))))


def blocked(reason: str) -> list[dict[str, Any]]:
    return [{"type": "Blocked", "status": "True", "reason": reason, "lastTransitionTime": BEGAN}]


def told(*states: Carried) -> list[str]:
    lines: list[str] = []
    teller = Teller(lines.append)
    for state in states:
        teller.tell(state)
    return lines


def entry(step: int, attempt: int = 1, outcome: str = "Done") -> dict[str, Any]:
    return {"step": step, "attempt": attempt, "verb": "Stopping", "target": "1", "outcome": outcome, "at": BEGAN}


STEP = {"id": 1, "verb": "Stopping", "target": "1", "why": "ConfigChanged"}
CHECK = {"name": "ReplicasOutOfSync", "evidence": "4 replicas are out.", "remedy": "Wait."}
AWAITS = STEP | {"checks": [{"name": "Paused"}, {"name": "AwaitingApproval", "evidence": "The plan needs one."}]}


def test_the_same_state_twice_is_told_once() -> None:
    state = one(step=STEP)
    assert told(state, state) == [
        "roll-1-a: Version 4.3.1 (KafkaCluster kafka/orders)",
        "  step 1: Stopping 1 (ConfigChanged)",
    ]


def test_a_check_is_told_when_it_appears_and_not_when_its_evidence_moves() -> None:
    waits, moved = STEP | {"checks": [CHECK]}, STEP | {"checks": [CHECK | {"evidence": "3 replicas are out."}]}
    lines = told(one(step=STEP), one(step=waits), one(step=moved), one(step=STEP), one(step=waits))
    assert lines[2:] == ["    waits: ReplicasOutOfSync: 4 replicas are out. Wait."] * 2


def test_outcomes_before_the_first_look_are_not_told_again_but_for_the_last() -> None:
    first = one(step=STEP | {"id": 3}, journal=[entry(1), entry(2)])
    later = one(step=STEP | {"id": 3}, journal=[entry(2), entry(3, outcome="Failed"), entry(3, attempt=2)])
    lines = [line for line in told(first, later) if BEGAN in line]
    assert [line.split()[1:3] for line in lines] == [["2", "Done"], ["3", "Failed"], ["3", "Done"]]


def test_going_back_and_being_cancelled_are_told() -> None:
    state = one(step=STEP | {"id": 5}, direction="Back")
    state.obj["metadata"]["annotations"] = {"kfleet.dev/cancel": "roll-1-a"}
    assert told(state, state)[1:] == [
        "it was cancelled: what was begun is finished or undone",
        "  undoing, step 5: Stopping 1 (ConfigChanged)",
    ]


@pytest.mark.parametrize(
    ("status", "state", "code"),
    [
        ({"operation": operation(outcome="Succeeded")}, "Succeeded", 0),
        ({"operation": operation(outcome="Denied")}, "Denied", 4),
        ({"operation": operation(outcome="RolledBack")}, "RolledBack", 1),
        ({"operation": operation()}, "UnderWay", 3),
        ({"operation": operation(), "conditions": blocked("NodeNotReady")}, "Blocked", 3),
        ({"operation": operation(), "conditions": blocked("Paused")}, "Waiting", 3),
        ({"operation": operation(), "conditions": blocked("ApprovalInvalid")}, "AwaitingApproval", 5),
        ({"operation": operation(step=AWAITS), "conditions": blocked("Paused")}, "AwaitingApproval", 5),
        ({"operation": operation(step=AWAITS), "conditions": blocked("NodeNotReady")}, "AwaitingApproval", 5),
        ({"operation": operation(step=AWAITS, outcome="Cancelled")}, "Cancelled", 1),
    ],
)
def test_states_and_codes(status: dict[str, Any], state: str, code: int) -> None:
    found = next(carried(cluster(**status)))
    assert (found.state, exit_code(found)) == (state, code)
    assert awaits_approval(found) == (state == "AwaitingApproval"), "`kfleet pending` and `op watch` agree"


def test_what_needs_somebody_comes_first_and_the_newest_of_each() -> None:
    found = all_carried(
        [
            cluster("a", operation=operation("moving")),
            cluster("b", lastOperation=operation("old", outcome="Succeeded", endedAt="2026-01-01T00:00:00Z")),
            cluster("c", lastOperation=operation("new", outcome="Failed", endedAt="2026-01-03T00:00:00Z")),
            cluster("d", operation=operation("asks"), conditions=blocked("AwaitingApproval")),
            cluster("e", operation=operation("stuck"), conditions=blocked("NodeNotReady")),
        ]
    )
    assert [item.operation.id for item in worst_first(found)] == ["asks", "stuck", "moving", "new", "old"]


def test_a_status_of_another_version_keeps_nobody_from_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    found = all_carried([cluster("a", operation={"id": "?"}), cluster("b", operation=operation())])
    assert [item.name for item in found] == ["b"]
    assert "the status of KafkaCluster kafka/a cannot be read by this version" in capsys.readouterr().err


def test_the_next_command_fits_the_state() -> None:
    waits = next(carried(cluster(operation=operation(), conditions=blocked("AwaitingApproval"))))
    assert next_commands(waits) == ["kfleet approve roll-1-a", "kfleet deny roll-1-a"]
    assert next_commands(one(outcome="Cancelled")) == ["kfleet op resume roll-1-a"]
    assert next_commands(one(outcome="Succeeded")) == []


def test_the_lock_in_words() -> None:
    held = {"spec": {"holderIdentity": "roll-1-a/alice@host-7", "renewTime": "2026-01-02T03:04:05.123456Z"}}
    assert lock_words(held) == "held by roll-1-a through alice@host-7, renewed 2026-01-02T03:04:05Z"
    assert lock_words({"spec": {"holderIdentity": ""}}) == lock_words(None) == "nobody has it"


class Api(FakeKube):
    """Objects put in as they are; `before_patch` runs between reading and writing, as other writers do."""

    def __init__(self, *objects: Object) -> None:
        super().__init__()
        self.before_patch: list[Callable[[], None]] = []
        self.forbid_everywhere = False
        for obj in objects:
            meta = obj["metadata"]
            self.objects[("kafkaclusters", meta["namespace"], meta["name"])] = copy.deepcopy(obj)

    def of(self, name: str) -> Object:
        return self.objects[("kafkaclusters", "kafka", name)]

    async def list(self, resource: Resource, namespace: str | None = None, **selectors: Any) -> Any:
        if namespace is None and self.forbid_everywhere:
            raise ForbiddenError(403, "Forbidden", "not everywhere")
        return await super().list(resource, namespace, **selectors)

    async def patch(self, *arguments: Any, **more: Any) -> Object:
        if self.before_patch:
            self.before_patch.pop(0)()
        return await super().patch(*arguments, **more)


def connection(kube: FakeKube, namespace: str = "kafka", *, everywhere: bool = False) -> Connection:
    return Connection(kube, namespace, None if everywhere else namespace)  # type: ignore[arg-type]


async def test_an_operation_is_found_by_id_in_any_namespace_and_by_name_in_ours() -> None:
    api = Api(cluster("orders", operation=operation("a")), cluster("far", "other", operation=operation("b")))
    assert (await find_operation(connection(api), "a", anywhere=True)).name == "orders"
    assert (await find_operation(connection(api), "b", anywhere=True)).namespace == "other"
    assert (await find_operation(connection(api), "kafkacluster/orders", anywhere=True)).operation.id == "a"
    with pytest.raises(CliError, match=r"no operation far; did you mean a\?"):
        await find_operation(connection(api), "far", anywhere=True)
    with pytest.raises(CliError, match="no operation b in namespace kafka"):
        await find_operation(connection(api), "b", anywhere=False)
    api.forbid_everywhere = True
    with pytest.raises(CliError, match="no operation b in namespace kafka"):
        await find_operation(connection(api), "b", anywhere=True)


async def test_a_name_in_two_namespaces_is_not_guessed() -> None:
    api = Api(cluster("orders", operation=operation("a")), cluster("orders", "other", operation=operation("b")))
    with pytest.raises(CliError, match=r"in several namespaces \(kafka, other\); say which with -n"):
        await find_operation(connection(api, everywhere=True), "orders", anywhere=False)


def rebalance(name: str = "drain", **status: Any) -> Object:
    obj = cluster(name, **status)
    return obj | {"kind": "KafkaRebalance", "spec": {"clusterRef": {"name": "orders"}}}


async def test_a_rebalance_is_found_with_the_cell_that_it_works_on() -> None:
    api = Api(cluster("orders", operation=operation("a")))
    api.objects[("kafkarebalances", "kafka", "drain")] = rebalance(operation=operation("b"))
    api.objects[("leases", "kafka", "orders-cell")] = {"spec": {"holderIdentity": "b/operator-1"}}
    there = all_carried(await carriers(connection(api), "kafka"))
    assert [(one.operation.id, one.cell) for one in there] == [("a", "kafka/orders"), ("b", "kafka/orders")]
    found = await find_operation(connection(api), "kafkarebalance/drain", anywhere=False)
    assert found.operation.id == "b"
    assert await op_run._lock(connection(api), found) == "held by b through operator-1, renewed Z"
    with pytest.raises(CliError, match="--local does the work of a KafkaCluster only"):
        await op_run._to_the_end(connection(api), found, seconds=1, local=True)
    await cancel(api, found)
    assert api.objects[("kafkarebalances", "kafka", "drain")]["metadata"]["annotations"] == {"kfleet.dev/cancel": "b"}


async def test_a_control_plane_that_knows_no_rebalances_has_none() -> None:
    class Older(Api):
        async def list(self, resource: Resource, namespace: str | None = None, **selectors: Any) -> Any:
            if resource.plural != "kafkaclusters":
                raise NotFoundError(404, "NotFound", "the server could not find the requested resource")
            return await super().list(resource, namespace, **selectors)

    api = Older(cluster("orders", operation=operation("a")))
    assert [one.operation.id for one in all_carried(await carriers(connection(api), "kafka"))] == ["a"]


async def cancel(api: Api, found: Carried) -> None:
    await op_run._annotate(connection(api), found, lambda now: op_run._cancelling(now, found.operation.id))


async def test_a_word_survives_a_status_that_moves_beside_it() -> None:
    api = Api(cluster(operation=operation()))
    found = await find_operation(connection(api), "roll-1-a", anywhere=False)

    def move() -> None:
        api.of("orders")["metadata"]["resourceVersion"] += "0"

    api.before_patch = [move, move]
    await cancel(api, found)
    assert api.of("orders")["metadata"]["annotations"] == {"kfleet.dev/cancel": "roll-1-a"}
    assert api.before_patch == []


async def test_what_ended_between_the_question_and_the_word_is_not_cancelled() -> None:
    api = Api(cluster(operation=operation()))
    found = await find_operation(connection(api), "roll-1-a", anywhere=False)

    def end() -> None:
        api.of("orders")["metadata"]["resourceVersion"] += "0"
        api.of("orders")["status"] = {"lastOperation": operation(outcome="Succeeded")}

    api.before_patch = [end]
    with pytest.raises(CliError, match="roll-1-a has ended meanwhile; nothing was done"):
        await cancel(api, found)
    assert "annotations" not in api.of("orders")["metadata"]


async def test_an_object_made_anew_is_not_the_one_that_was_meant() -> None:
    api = Api(cluster(operation=operation()))
    found = await find_operation(connection(api), "roll-1-a", anywhere=False)
    api.of("orders")["metadata"] |= {"uid": "another", "resourceVersion": "9"}
    with pytest.raises(CliError, match="nothing was done"):
        await cancel(api, found)


async def test_an_object_that_never_rests_is_given_up() -> None:
    api = Api(cluster(operation=operation()))
    found = await find_operation(connection(api), "roll-1-a", anywhere=False)

    def conflict() -> None:
        raise ConflictError(409, "Conflict", "moved")

    api.before_patch = [conflict] * op_run.ATTEMPTS
    with pytest.raises(CliError, match="changes too fast"):
        await cancel(api, found)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return 1_767_000_000 + self.seconds

    def monotonic(self) -> float:
        return self.seconds


def holder(kube: FakeKube, clock: Clock, identity: str) -> LeaseHolder:
    return LeaseHolder(
        kube=kube,
        clock=clock,
        namespace="kfleet",
        name="kfleet-operator",
        identity=identity,
        duration=15,
        renew_interval=5,
    )


class Sleeping:
    """asyncio.sleep on the fake clock; `each` runs every time."""

    def __init__(self, clock: Clock, each: Callable[[], Any] | None = None) -> None:
        self.clock, self.each = clock, each

    async def __call__(self, seconds: float) -> None:
        self.clock.seconds += seconds
        if self.each is not None:
            await self.each()


async def test_the_lease_of_nobody_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, clock, said = FakeKube(), Clock(), list[str]()
    monkeypatch.setattr(asyncio, "sleep", Sleeping(clock))
    await local.take_over(holder(kube, clock, "me"), said.append)
    assert (said, clock.seconds) == ([], 1000.0)
    await holder(kube, clock, "me").release()
    await local.take_over(holder(kube, clock, "you"), said.append)
    assert (said, clock.seconds) == ([], 1000.0)


async def test_the_lease_of_a_silent_holder_is_taken_after_its_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, clock, said = FakeKube(), Clock(), list[str]()
    await holder(kube, clock, "operator-1").take()
    clock.seconds += 3600
    monkeypatch.setattr(asyncio, "sleep", Sleeping(clock))
    mine = holder(kube, clock, "me")
    await local.take_over(mine, said.append)
    assert mine.sure()
    assert 15 < clock.seconds - 4600 <= 16
    assert len(said) == 1
    assert said[0].startswith("operator-1 renewed Lease kfleet/kfleet-operator at ")
    assert said[0].endswith("waiting 15 s for another renewal")


@pytest.mark.parametrize("renews", ["operator-1", "operator-2"])
async def test_a_lease_that_is_renewed_or_taken_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, renews: str
) -> None:
    kube, clock = FakeKube(), Clock()
    await holder(kube, clock, "operator-1").take()

    async def renew() -> None:
        if clock.seconds >= 1005:
            await holder(kube, clock, renews).take(also=["operator-1"])

    monkeypatch.setattr(asyncio, "sleep", Sleeping(clock, renew))
    with pytest.raises(CliError, match=f"{renews} is alive: it holds Lease kfleet/kfleet-operator since .*--local out"):
        await local.take_over(holder(kube, clock, "me"), lambda _: None)
    lease = await kube.get(LEASES, "kfleet-operator", "kfleet")
    assert lease["spec"]["holderIdentity"] == renews


def plan(identity: str | None) -> ClusterPlan:
    next_ = Operation.model_validate(operation(identity)) if identity else None
    observation = ClusterObservation(as_of=0, namespace="kafka", name="orders", nodes=(), quorum=None, kafka=None)
    return ClusterPlan(observation, None, next_, (), (), ())


@pytest.mark.parametrize(
    ("status", "wanted", "next_", "refused"),
    [
        ({"operation": operation()}, "roll-1-a", "roll-1-a", ""),
        ({"operation": operation()}, "roll-1-a", None, ""),
        ({"operation": operation()}, "roll-1-a", "roll-1-b", "and not go on with roll-1-a"),
        ({"observedGeneration": 0}, None, "roll-1-a", ""),
        ({"observedGeneration": 1}, None, None, ""),
        ({"observedGeneration": 1}, None, "roll-1-b", "has not found necessary"),
        ({"observedGeneration": 1, "lastOperation": operation(outcome="Cancelled")}, None, "roll-1-a", ""),
    ],
)
def test_a_process_with_other_settings_is_not_let_loose(
    status: dict[str, Any], wanted: str | None, next_: str | None, refused: str
) -> None:
    if refused:
        with pytest.raises(CliError, match=refused):
            local.refuse_another_plan(plan(next_), cluster(**status), wanted)
    else:
        local.refuse_another_plan(plan(next_), cluster(**status), wanted)


def deployment(*env: dict[str, Any]) -> Object:
    return {
        "metadata": {"name": "kfleet-operator", "namespace": "kfleet"},
        "spec": {"template": {"spec": {"containers": [{"name": "operator", "env": list(env)}]}}},
    }


async def settings_with(kube: FakeKube, monkeypatch: pytest.MonkeyPatch, shell: dict[str, str]) -> Any:
    for name in ("KFLEET_ADDRESSING", "KFLEET_PROBE_PERIOD", "KFLEET_LEDGER_URL", "KFLEET_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    return await operator_settings.operator_settings(connection(kube), "kafka", "orders", identity="me")


async def test_settings_come_from_the_shell_then_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()
    env = [{"name": "KFLEET_ADDRESSING", "value": "PodIP"}, {"name": "KFLEET_PROBE_PERIOD", "value": "3"}]
    own: list[Any] = [
        {"name": "KFLEET_IDENTITY", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TZ"},
    ]
    await kube.create(operator_settings.DEPLOYMENTS, deployment(*env, *own))
    found = await settings_with(kube, monkeypatch, {"KFLEET_PROBE_PERIOD": "2"})
    assert (found.addressing, found.probe_period, found.identity) == ("PodIP", 2, "me")


async def test_what_the_operator_has_from_a_secret_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the ledger's address every entry would count as delivered, and be lost to it."""
    kube = FakeKube()
    secret = {"name": "KFLEET_LEDGER_URL", "valueFrom": {"secretKeyRef": {"name": "ledger", "key": "url"}}}
    await kube.create(operator_settings.DEPLOYMENTS, deployment(secret))
    with pytest.raises(CliError, match="the operator has KFLEET_LEDGER_URL from elsewhere than its Deployment"):
        await settings_with(kube, monkeypatch, {})
    found = await settings_with(kube, monkeypatch, {"KFLEET_LEDGER_URL": "sqlite:////tmp/x"})
    assert found.ledger_url.get_secret_value() == "sqlite:////tmp/x"


async def test_a_pass_that_lost_its_write_says_nothing_yet() -> None:
    """The first pass meets a conflict, the second fails, the third writes, the fourth has nothing to write."""
    api, writes = Api(cluster()), local.ClusterWrites()
    kube = intercept_kube(api, [writes])
    passed, seen = asyncio.Event(), list[bool]()

    async def reconcile(key: Key) -> float | None:
        seen.append(passed.is_set())
        obj = await kube.get(CLUSTERS, key.name, key.namespace)
        if len(seen) == 1:
            api.of(key.name)["metadata"]["resourceVersion"] = "moved"
        if len(seen) <= 3:
            try:
                await kube.replace(CLUSTERS, obj | {"status": {"phase": len(seen)}}, subresource="status")
            except ConflictError:
                return 0.01
        if len(seen) == 2:
            raise RuntimeError("a defect")
        return 3600.0

    wiring: Any = SimpleNamespace(reconcile=reconcile)
    settings = OperatorSettings(settle_interval=0.01, retry_min=0.01)
    async with local._beside() as beside:
        key = cluster_key("kafka", "orders")
        beside(local._work(wiring, settings, key, writes=writes, passed=passed, passing=asyncio.Lock()))
        async with asyncio.timeout(30):
            await passed.wait()
    assert seen == [False] * 4
    assert api.of("orders")["status"] == {"phase": 3}


async def test_one_that_is_gone_was_looked_at() -> None:
    passed, writes = asyncio.Event(), local.ClusterWrites()

    async def reconcile(_: Key) -> float | None:
        writes.before("patch kafkaclusters kafka/orders")  # its finalizer
        return None

    wiring: Any = SimpleNamespace(reconcile=reconcile)
    async with local._beside() as beside:
        key = cluster_key("kafka", "orders")
        beside(local._work(wiring, OperatorSettings(), key, writes=writes, passed=passed, passing=asyncio.Lock()))
        async with asyncio.timeout(30):
            await passed.wait()


async def test_work_beside_the_body_ends_with_it_and_its_failure_ends_the_body() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async with local._beside() as beside:
        beside(work())
        await asyncio.sleep(0)
    assert ended == ["work"]

    async def fail() -> None:
        raise CliError("the queue is gone", ExitCode.FAILED)

    async def body() -> None:
        async with local._beside() as beside:
            beside(fail())
            await asyncio.Event().wait()

    with pytest.raises(CliError, match="the queue is gone"):
        await body()
