"""Limits of a tenant that has two cells: whatever the two passes do at the same moment, they are not passed."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from support.fake_kafka import FakeKafka, FakeKafkaAdmin, FakePartition, FakeTopic
from support.simulation import Namespace, created
from support.tenancy import CELL, tenant
from support.tenants import tenant as placed_tenant

from controlplane.api import names
from controlplane.api.kafka_tenant import KafkaTenant, TenantLimits
from controlplane.domain.tenants.directory import Cell
from controlplane.domain.topics.limits import Amount, elsewhere, is_shared
from controlplane.ports import KafkaAdmin, KafkaUnreachableError, Object
from controlplane.services.events import EventRecorder
from controlplane.services.keys import topics_key
from controlplane.services.tenants.read import KAFKA_TENANTS
from controlplane.services.topics import KAFKA_TOPICS, TopicService
from controlplane.settings import OperatorSettings

WEST = CELL | {"name": "west"}
KEYS = {name: topics_key("kafka", name) for name in ("cell", "west")}
SETTINGS = OperatorSettings(addressing="PodIP")


class InStep:
    """An admin whose calls wait for those of the other cell, as often as both are asked: nobody is ever ahead."""

    def __init__(self, admin: KafkaAdmin, steps: Steps) -> None:
        self._admin, self._steps = admin, steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._admin, name)

        async def call(*args: Any, **words: Any) -> Any:
            await self._steps.wait()
            return await method(*args, **words)

        return call


class Steps:
    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []
        self.running = 0

    async def wait(self) -> None:
        event = asyncio.Event()
        self.waiting.append(event)
        self.go()
        await event.wait()

    def go(self) -> None:
        """Everybody goes on once all that run have come so far."""
        if len(self.waiting) >= self.running:
            for event in self.waiting:
                event.set()
            self.waiting.clear()


class TwoCells:
    """Cells kafka/cell and kafka/west, and a tenant with a shard in both."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace, self.kube, self.clock = namespace, namespace.kube, namespace.clock
        self.west = FakeKafka(nodes=3, first_id=0)
        self.clusters = {"kafka/cell": namespace.kafka, "kafka/west": self.west}
        self.steps = Steps()
        self.away: set[str] = set()
        for (plural, where, name), obj in list(self.kube.objects.items()):
            if where == "kafka" and plural in ("kafkaclusters", "pods"):
                twin = copy.deepcopy(obj)
                twin["metadata"] |= {"name": name.replace("cell", "west"), "uid": f"{obj['metadata']['uid']}-west"}
                if plural == "pods":
                    twin["metadata"]["labels"][names.CLUSTER] = "west"
                self.kube.objects[plural, where, twin["metadata"]["name"]] = twin

    def get(self, cluster_key: str, bootstrap_servers: Any, tls: Any = None) -> Any:
        if cluster_key in self.away:
            raise KafkaUnreachableError(f"{cluster_key} does not answer")
        return InStep(FakeKafkaAdmin(self.clusters[cluster_key]), self.steps)

    async def declare(self, name: str, cell: str, **spec: Any) -> None:
        ref = {"name": "shop", "cell": {"namespace": "kafka", "name": cell}}
        body: Object = {
            "apiVersion": "kfleet.dev/v1alpha1",
            "kind": "KafkaTopic",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-02-01T00:00:00Z"},
            "spec": {"tenantRef": ref, "topicName": f"shop.{name}", "partitions": 2, "replicas": 2} | spec,
            "status": {"cell": f"kafka/{cell}"},
        }
        await self.kube.create(KAFKA_TOPICS, body)

    def life(self) -> TopicService:
        admins: Any = self
        return TopicService(self.kube, admins, self.clock, EventRecorder(self.kube, self.clock), SETTINGS)

    async def together(self, one: TopicService, *cells: str) -> None:
        async def run(cell: str) -> None:
            try:
                await one.reconcile(KEYS[cell])
            finally:
                self.steps.running -= 1
                self.steps.go()

        self.steps.running = len(cells)
        await asyncio.gather(*(run(cell) for cell in cells))

    def made(self) -> set[str]:
        return {name for kafka in self.clusters.values() for name in kafka.topics if name.startswith("shop.")}

    async def reason(self, name: str) -> tuple[str, str]:
        conditions = (await self.kube.get(KAFKA_TOPICS, name, "shop"))["status"]["conditions"]
        return next((one["reason"], one["message"]) for one in conditions if one["type"] == "Ready")


async def two_cells(**limits: Any) -> TwoCells:
    found = TwoCells(await created())
    body = tenant(shard=(0, 1, 2), cells=[CELL, WEST], limits=limits)
    body["status"]["cells"].append(WEST | {"shard": [0, 1, 2]})
    await found.kube.create(KAFKA_TENANTS, body)
    return found


@pytest.mark.parametrize(
    ("limits", "spec"),
    [
        ({"topics": 1}, {}),
        ({"partitions": 3}, {}),
        ({"storage": "6Gi"}, {"config": {"retention.bytes": 2**30}}),
    ],
)
async def test_two_cells_that_grow_at_the_same_moment_keep_a_limit(limits: Any, spec: Any) -> None:
    cells = await two_cells(**limits)
    for cell in KEYS:
        await cells.declare(f"of-{cell}", cell, **spec)
    one = cells.life()
    await cells.together(one, *KEYS)
    assert len(cells.made()) == 1
    (name,) = cells.made()
    refused = ({"of-cell", "of-west"} - {name.removeprefix("shop.")}).pop()
    reason, message = await cells.reason(refused)
    (field,) = limits
    assert (reason, f"beyond limits.{field}" in message) == ("TenantLimitExceeded", True)
    for _ in range(3):
        cells.clock.seconds += 1
        await cells.together(one, *KEYS)
        await cells.together(cells.life(), *KEYS)
    assert cells.made() == {name}


async def test_what_there_is_room_for_is_made_in_both() -> None:
    cells = await two_cells(topics=2, partitions=4)
    for cell in KEYS:
        await cells.declare(f"of-{cell}", cell)
    await cells.together(cells.life(), *KEYS)
    assert cells.made() == {"shop.of-cell", "shop.of-west"}


async def test_the_next_operator_counts_what_statuses_do_not_tell_of_yet() -> None:
    cells = await two_cells(topics=1)
    await cells.declare("first", "cell")
    await cells.together(cells.life(), "cell")
    await cells.declare("second", "west")
    await cells.together(cells.life(), "west")
    assert cells.made() == {"shop.first"}
    assert (await cells.reason("second"))[0] == "TenantLimitExceeded"


async def test_what_is_deleted_in_one_cell_is_room_in_the_other() -> None:
    cells = await two_cells(topics=1)
    await cells.declare("first", "cell")
    one = cells.life()
    await cells.together(one, "cell")
    await cells.declare("second", "west")
    await cells.together(one, "west")
    await cells.kube.delete(KAFKA_TOPICS, "first", "shop")
    del cells.namespace.kafka.topics["shop.first"]
    await cells.together(one, "cell", "west")
    assert cells.made() == set(), "nobody looks at a cell without objects: what was seen counts for a while"
    cells.clock.seconds += 3 * SETTINGS.resync_interval
    await cells.together(one, "west")
    assert cells.made() == {"shop.second"}


async def test_a_cell_that_does_not_answer_counts_as_its_status_says() -> None:
    cells = await two_cells(topics=2)
    cells.namespace.kafka.topics["shop.a"] = FakeTopic("id", [FakePartition((0, 1), (0, 1), 0)], {})
    cells.away.add("kafka/cell")
    obj = await cells.kube.get(KAFKA_TENANTS, "shop")
    obj["status"]["cells"][0]["usage"] = {"topics": 2, "partitions": 9}
    await cells.kube.replace(KAFKA_TENANTS, obj)
    await cells.declare("b", "west")
    await cells.together(cells.life(), "west")
    assert cells.made() == {"shop.a"}
    assert (await cells.reason("b"))[0] == "TenantLimitExceeded"


def test_of_what_was_seen_and_what_the_status_says_the_more_counts() -> None:
    one = KafkaTenant.model_validate(
        tenant(cells=[CELL, WEST], usage={"topics": 2, "partitions": 1, "storage": 5}, limits={"topics": 1})
    )
    cell, west = Cell("kafka", "cell"), Cell("kafka", "west")
    assert elsewhere(one, cell, {}) == Amount(2, 1, 5)
    assert elsewhere(one, cell, {west: {"shop": Amount(1, 3, 4)}}) == Amount(2, 3, 5)
    assert elsewhere(one, west, {cell: {"shop": Amount(1, 3, 4)}, west: {"shop": Amount(9, 9, 9)}}) == Amount(1, 3, 4)
    assert is_shared(one)
    assert not is_shared(one.model_copy(update={"spec": one.spec.model_copy(update={"limits": TenantLimits()})}))
    assert not is_shared(placed_tenant("t", limits={"topics": 1}))
