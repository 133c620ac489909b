"""TenantService on fakes: all tenants of a cell in one pass, statuses before anything else, and one KafkaRebalance for
a move however often the operator dies."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from support.fake_kafka import FakePartition, FakeTopic
from support.simulation import SETTINGS, DieAt, Killed, Namespace, created
from support.tenants import CELL, START, tenant_object

from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_tenant import KafkaTenant, TenantCellStatus
from controlplane.domain.tenants.directory import Cell, Directory, cell_status
from controlplane.domain.tenants.planner import plan_cell
from controlplane.domain.tenants.values import CellView, Outcome
from controlplane.ports import ForbiddenError, KubeApi, Object, PlanningError, Resource
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import intercept_admins, intercept_kube
from controlplane.services.keys import tenants_key
from controlplane.services.rebalance.asked import REBALANCES
from controlplane.services.tenants.read import KAFKA_TENANTS
from controlplane.services.tenants.service import TenantService

KEY = tenants_key("kafka", "cell")


class Planner:
    """A process that plans; `failing` with these words."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.asked = failing, 0

    async def plan_cell(self, known: Directory, view: CellView, now: float) -> dict[str, Outcome]:
        self.asked += 1
        if self.failing:
            raise PlanningError(self.failing)
        return plan_cell(known, view, now)


def service(
    namespace: Namespace, die: DieAt | None = None, kube: KubeApi | None = None, **settings: Any
) -> TenantService:
    """A new life: nothing is remembered."""
    watchers = [die] if die else []
    kube = intercept_kube(kube or namespace.kube, watchers)
    admins = intercept_admins(namespace.admins, watchers)
    configured = SETTINGS.model_copy(update=settings)
    events = EventRecorder(kube, namespace.clock)
    return TenantService(kube, admins, namespace.clock, events, configured, planner=Planner())


async def declare(namespace: Namespace, name: str, **words: Any) -> None:
    body = tenant_object(name, **words)
    await namespace.kube.create(KAFKA_TENANTS, body)


async def change(namespace: Namespace, name: str, **spec: Any) -> None:
    obj = await namespace.kube.get(KAFKA_TENANTS, name)
    obj["spec"] |= spec
    await namespace.kube.replace(KAFKA_TENANTS, obj)


async def read(namespace: Namespace, name: str) -> KafkaTenant:
    return KafkaTenant.model_validate(await namespace.kube.get(KAFKA_TENANTS, name))


async def recorded(namespace: Namespace, name: str, cell: Cell = CELL) -> TenantCellStatus:
    found = cell_status(await read(namespace, name), cell)
    assert found is not None
    return found


async def ready(namespace: Namespace, name: str) -> tuple[str, str]:
    conditions = (await read(namespace, name)).status.conditions
    return next((one.status, one.reason) for one in conditions if one.type == "Ready")


def topic(namespace: Namespace, name: str, *replicas: tuple[int, ...]) -> None:
    partitions = [FakePartition(on, on, on[0], size=1000) for on in replicas]
    namespace.kafka.topics[name] = FakeTopic(f"{name}-id", partitions, {"min.insync.replicas": "1"})


async def shrinking(namespace: Namespace) -> None:
    """A tenant on all three brokers, with a topic on all three, that is to be on two."""
    await declare(namespace, "shop")
    topic(namespace, "shop.orders", (0, 1), (1, 2))
    await service(namespace).reconcile(KEY)
    await change(namespace, "shop", shard={"size": 2, "maxOverlap": 1, "replacementDelay": "10m"})


async def rebalances(namespace: Namespace) -> list[Object]:
    return list(await namespace.kube.list(REBALANCES, "kafka"))


async def test_all_tenants_of_a_cell_are_placed_in_one_pass_and_then_left_alone() -> None:
    namespace = await created()
    for number in range(5):
        await declare(namespace, f"t{number}", at=START + number, shard={"size": 1, "maxOverlap": 0})
    topic(namespace, "t1.x", (1,))
    die = DieAt()
    again = await service(namespace, die).reconcile(KEY)
    assert again == SETTINGS.resync_interval
    shards = [(await recorded(namespace, f"t{number}")).shard for number in range(5)]
    assert sorted(shard[0] for shard in shards[:3]) == [0, 1, 2], "nobody shares while there is room"
    assert (await recorded(namespace, "t1")).usage.storage == 1000
    assert await ready(namespace, "t0") == ("True", "OverlapExceeded")
    quiet = DieAt()
    await service(namespace, quiet).reconcile(KEY)
    assert quiet.calls == []
    assert not [call for call in die.calls if call.startswith("kafka ")], "brokers are only asked"


async def test_sizes_are_asked_for_now_and_then() -> None:
    namespace = await created()
    await declare(namespace, "shop", shard={"size": 2})
    topic(namespace, "shop.x", (0, 1))
    one = service(namespace)
    await one.reconcile(KEY)
    namespace.kafka.topics["shop.x"].partitions[0].size = 5000
    await one.reconcile(KEY)
    assert (await recorded(namespace, "shop")).usage.storage == 2000
    namespace.clock.seconds += SETTINGS.usage_interval
    await one.reconcile(KEY)
    assert (await recorded(namespace, "shop")).usage.storage == 10_000


async def test_a_shard_that_shrinks_is_recorded_wide_before_its_move_is_asked_for() -> None:
    namespace = await created()
    await shrinking(namespace)
    await service(namespace).reconcile(KEY)
    status = await recorded(namespace, "shop")
    (asked,) = await rebalances(namespace)
    assert (status.shard, status.rebalance) == ((0, 1, 2), asked["metadata"]["name"])
    assert asked["spec"]["goal"] == {
        "type": "MoveTo",
        "brokers": list(status.target or ()),
        "topics": ["shop.orders"],
    }
    assert asked["spec"]["approval"] == "NotRequired"
    assert asked["metadata"]["labels"] == {names.CLUSTER: "cell", names.TENANT: "shop"}
    assert await ready(namespace, "shop") == ("False", "Moving")
    target = status.target or ()
    topic(namespace, "shop.orders", target, target)
    await end(namespace, "Complete")
    namespace.clock.seconds += 10
    await service(namespace).reconcile(KEY)
    assert (await recorded(namespace, "shop")).shard == target
    assert await ready(namespace, "shop") == ("True", "Placed")


async def end(namespace: Namespace, how: str, reason: str = "Succeeded") -> None:
    (obj,) = await rebalances(namespace)
    at = "2023-11-14T22:30:00Z"
    base = {"observedGeneration": 1, "lastTransitionTime": at, "reason": reason, "message": "carol: not today"}
    obj["status"] = {
        "conditions": [{"type": kind, "status": str(kind == how), **base} for kind in ("Ready", "Complete", "Failed")]
    }
    await namespace.kube.replace(REBALANCES, obj, subresource="status")


async def test_a_denied_move_is_said_and_not_asked_for_again() -> None:
    namespace = await created()
    await shrinking(namespace)
    await service(namespace).reconcile(KEY)
    await end(namespace, "Failed", "Denied")
    for _ in range(2):
        await service(namespace).reconcile(KEY)
    status = await recorded(namespace, "shop")
    assert (status.shard, status.target, status.reason) == ((0, 1, 2), None, "MoveFailed")
    assert "Denied: carol: not today" in status.message
    assert len(await rebalances(namespace)) == 1


async def test_a_cluster_that_requires_approvals_requires_one_of_a_move_too() -> None:
    namespace = await created()
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["spec"]["rollout"] = {"approval": "Required"}
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await shrinking(namespace)
    await service(namespace).reconcile(KEY)
    (asked,) = await rebalances(namespace)
    assert asked["spec"]["approval"] == "Required"
    assert asked["metadata"]["annotations"][names.REQUESTED_BY] == "system:serviceaccount:kfleet:kfleet-operator"


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_killed_at_any_write_it_ends_the_same(phase: str) -> None:
    whole = await created()
    await shrinking(whole)
    count = DieAt()
    await service(whole, count).reconcile(KEY)
    wanted = ((await recorded(whole, "shop")).target, [one["metadata"]["name"] for one in await rebalances(whole)])
    assert [call.split()[0] for call in count.calls] == ["replace", "create"], "a status, then a KafkaRebalance"
    for number in range(1, len(count.calls) + 1):
        namespace = await created()
        await shrinking(namespace)
        with contextlib.suppress(Killed, BaseExceptionGroup):
            await service(namespace, DieAt(number, phase)).reconcile(KEY)
        if await rebalances(namespace):
            assert (await recorded(namespace, "shop")).rebalance, "asked for before it was recorded"
        for _ in range(2):
            await service(namespace).reconcile(KEY)
        found = await rebalances(namespace)
        assert ((await recorded(namespace, "shop")).target, len(found)) == (wanted[0], len(wanted[1]))


async def test_a_status_that_moved_meanwhile_waits_and_nothing_is_done_for_it() -> None:
    namespace = await created()
    await shrinking(namespace)

    class Meddler:
        """Somebody else writes the tenant between our look and our write."""

        def __getattr__(self, name: str) -> Any:
            return getattr(namespace.kube, name)

        async def replace(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
            other = await namespace.kube.get(KAFKA_TENANTS, "shop")
            await namespace.kube.replace(KAFKA_TENANTS, other)
            return await namespace.kube.replace(resource, body, subresource=subresource)

    meddled: Any = Meddler()
    assert await service(namespace, kube=meddled).reconcile(KEY) == SETTINGS.busy_interval
    assert await rebalances(namespace) == []
    await service(namespace).reconcile(KEY)
    assert len(await rebalances(namespace)) == 1


async def test_a_move_that_may_not_be_created_is_said_and_tried_again() -> None:
    namespace = await created()
    await shrinking(namespace)
    refusing = True

    class Strict:
        def __getattr__(self, name: str) -> Any:
            return getattr(namespace.kube, name)

        async def create(self, resource: Resource, body: Object, where: str | None = None) -> Object:
            if refusing and resource == REBALANCES:
                raise ForbiddenError(403, "Forbidden", "kfleet may not")
            return await namespace.kube.create(resource, body, where)

    strict: Any = Strict()
    one = service(namespace, kube=strict)
    await one.reconcile(KEY)
    await one.reconcile(KEY)
    assert await ready(namespace, "shop") == ("False", "MoveRefused")
    assert "kfleet may not" in (await recorded(namespace, "shop")).message
    refusing = False
    await one.reconcile(KEY)
    await one.reconcile(KEY)
    assert await ready(namespace, "shop") == ("False", "Moving")


async def test_a_cluster_that_is_not_there_or_does_not_answer_is_said_and_shards_stay() -> None:
    namespace = await created()
    nowhere = Cell("kafka", "nowhere")
    await declare(namespace, "lost", cells=[nowhere])
    await declare(namespace, "shop", at=START + 1)
    await service(namespace).reconcile(tenants_key("kafka", "nowhere"))
    assert await ready(namespace, "lost") == ("False", "ClusterNotFound")
    assert "spec.cells: there is no KafkaCluster 'nowhere'" in (await recorded(namespace, "lost", nowhere)).message
    await service(namespace).reconcile(KEY)
    namespace.kafka.up.clear()
    await declare(namespace, "new", at=START + 2)
    await service(namespace).reconcile(KEY)
    assert await ready(namespace, "new") == ("False", "ClusterNotReady")
    assert (await recorded(namespace, "shop")).shard == (0, 1, 2)
    assert await ready(namespace, "shop") == ("True", "Placed")


async def test_two_cells_are_recorded_side_by_side() -> None:
    namespace = await created()
    nowhere = Cell("kafka", "nowhere")
    await declare(namespace, "shop", cells=[CELL, nowhere])
    await service(namespace).reconcile(KEY)
    assert await ready(namespace, "shop") == ("False", "Placing")
    await service(namespace).reconcile(tenants_key("kafka", "nowhere"))
    assert await ready(namespace, "shop") == ("False", "ClusterNotFound")
    assert (await recorded(namespace, "shop")).shard == (0, 1, 2)
    body = await namespace.kube.get(KAFKA_TENANTS, "shop")
    await change(namespace, "shop", cells=body["spec"]["cells"][:1])
    await service(namespace).reconcile(tenants_key("kafka", "nowhere"))
    assert await ready(namespace, "shop") == ("True", "Placed")
    assert [cell.name for cell in (await read(namespace, "shop")).status.cells] == ["cell"]


async def test_nobody_is_asked_where_there_is_no_tenant() -> None:
    namespace = await created()
    assert await service(namespace).reconcile(KEY) is None


async def test_of_the_moves_that_are_over_only_the_last_ones_are_kept() -> None:
    namespace = await created()
    await declare(namespace, "shop", shard={"size": 2})
    topic(namespace, "shop.orders", (0, 1))
    for turn in range(6):
        wanted = [(0, 1), (1, 2)][turn % 2 - 1]
        obj = await namespace.kube.get(KAFKA_TENANTS, "shop")
        obj["metadata"]["annotations"] = {names.SHARD: ",".join(map(str, wanted))}
        obj["metadata"]["generation"] = turn + 1
        await namespace.kube.replace(KAFKA_TENANTS, obj)
        await service(namespace).reconcile(KEY)
        for move in await rebalances(namespace):
            if "status" not in move:
                topic(namespace, "shop.orders", wanted)
                base = {"observedGeneration": 1, "lastTransitionTime": timestamp(namespace.clock.now())}
                condition = {"type": "Complete", "status": "True", "reason": "Succeeded", "message": "", **base}
                await namespace.kube.replace(
                    REBALANCES, move | {"status": {"conditions": [condition]}}, subresource="status"
                )
        namespace.clock.seconds += 60
        await service(namespace).reconcile(KEY)
        assert await ready(namespace, "shop") == ("True", "Placed")
        assert (await recorded(namespace, "shop")).shard == wanted
    found = await rebalances(namespace)
    assert len(found) == SETTINGS.rebalance_history == 3
    brokers = [one["spec"]["goal"]["brokers"] for one in sorted(found, key=_ended)]
    assert brokers == [[0, 1], [1, 2], [0, 1]]


async def infeasible(namespace: Namespace) -> None:
    """The only move that there is says so of itself."""
    (obj,) = await rebalances(namespace)
    base = {"observedGeneration": 1, "lastTransitionTime": timestamp(namespace.clock.now()), "status": "False"}
    told = {"reason": "GoalInfeasible", "message": "no room"} | base
    conditions = [{"type": kind, **told} for kind in ("Ready", "Proposed", "Complete", "Failed")]
    await namespace.kube.replace(REBALANCES, obj | {"status": {"conditions": conditions}}, subresource="status")


async def test_a_move_without_a_plan_goes_once_it_is_asked_for_otherwise() -> None:
    """It would wait for ever, and be planned again and again."""
    namespace = await created()
    await shrinking(namespace)
    await service(namespace).reconcile(KEY)
    await infeasible(namespace)
    (first,) = await rebalances(namespace)
    await service(namespace).reconcile(KEY)
    assert (await ready(namespace, "shop"), await rebalances(namespace)) == (("False", "MoveFailed"), [first])
    await change(namespace, "shop", shard={"size": 2, "maxOverlap": 0, "replacementDelay": "10m"})
    for _ in range(2):  # once another stands in the status
        await service(namespace).reconcile(KEY)
    (second,) = await rebalances(namespace)
    assert second["metadata"]["name"] == (await recorded(namespace, "shop")).rebalance != first["metadata"]["name"]


async def test_a_move_without_a_plan_goes_with_the_last_tenant() -> None:
    namespace = await created()
    await shrinking(namespace)
    await service(namespace).reconcile(KEY)
    await infeasible(namespace)
    await namespace.kube.delete(KAFKA_TENANTS, "shop")
    assert await service(namespace).reconcile(KEY) is None
    assert await rebalances(namespace) == []


def _ended(obj: Object) -> str:
    return str(obj["status"]["conditions"][0]["lastTransitionTime"])


async def test_a_cell_that_is_large_is_planned_by_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = await created()
    await declare(namespace, "shop")
    one, planner = service(namespace), Planner()
    one._planner = planner
    await one.reconcile(KEY)
    assert (planner.asked, (await recorded(namespace, "shop")).shard) == (0, (0, 1, 2))
    monkeypatch.setattr("controlplane.domain.tenants.planner.QUICK_TENANTS", 1)
    await declare(namespace, "late", at=START + 1)
    await one.reconcile(KEY)
    assert (planner.asked, (await recorded(namespace, "late")).shard) == (1, (0, 1, 2))


async def test_a_plan_that_does_not_come_is_said_and_shards_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = await created()
    await declare(namespace, "shop")
    one = service(namespace)
    await one.reconcile(KEY)
    monkeypatch.setattr("controlplane.domain.tenants.planner.QUICK_PARTITIONS", -1)
    await declare(namespace, "late", at=START + 1)
    one._planner = Planner("no plan was found within 600 s")
    assert await one.reconcile(KEY) == SETTINGS.resync_interval
    assert await ready(namespace, "shop") == ("True", "Placed")
    assert (await recorded(namespace, "shop")).shard == (0, 1, 2)
    assert await ready(namespace, "late") == ("False", "PlanningFailed")
    assert "within 600 s" in (await recorded(namespace, "late")).message
    one._planner = Planner()
    await one.reconcile(KEY)
    assert (await ready(namespace, "late"))[0] == "True"


async def test_namespaces_that_a_cells_operator_does_not_watch_are_said_for_that_cell() -> None:
    """Two cells, two operators, neither of which takes away what the other has said."""
    namespace = await created()
    other = Cell("billing", "cell")
    await declare(namespace, "shop", cells=[CELL, other], namespaces=["shop", "shop-batch", "shop-new"])

    async def watched() -> tuple[str, str, str]:
        conditions = (await read(namespace, "shop")).status.conditions
        return next((c.status, c.reason, c.message) for c in conditions if c.type == "NamespacesWatched")

    await service(namespace).reconcile(KEY)
    assert (await watched())[:2] == ("True", "NamespacesWatched")
    await service(namespace, watch_namespaces=["kafka", "shop"]).reconcile(KEY)
    elsewhere = service(namespace, watch_namespaces=["billing", "shop-batch", "shop-new"])
    await elsewhere.reconcile(tenants_key("billing", "cell"))
    await service(namespace, watch_namespaces=["kafka", "shop"]).reconcile(KEY)
    told = await watched()
    assert told[:2] == ("False", "NamespaceNotWatched")
    assert "billing/cell: shop. kafka/cell: shop-batch, shop-new." in told[2]
    assert (await recorded(namespace, "shop")).unwatched == ("shop-batch", "shop-new")
    await change(namespace, "shop", namespaces=["shop"])
    await service(namespace, watch_namespaces=["kafka", "shop"]).reconcile(KEY)
    assert "kafka/cell" not in (await watched())[2]
    await elsewhere.reconcile(tenants_key("billing", "cell"))
    await change(namespace, "shop", cells=[{"kind": "KafkaCluster", "namespace": "kafka", "name": "cell"}])
    await service(namespace, watch_namespaces=["kafka", "shop"]).reconcile(KEY)
    assert (await watched())[:2] == ("True", "NamespacesWatched")
