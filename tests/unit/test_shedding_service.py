"""Load shedding of a cluster on fakes: what the status says, whom it wakes, what a rebalance and a crash make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pytest
from support.fake_delays import FakeDelays
from support.simulation import DieAt, Killed, Namespace, created, run_until_ready, service

from controlplane.domain.rebalance.gates import gates
from controlplane.domain.shedding.ladder import Level
from controlplane.domain.shedding.status import REASONS
from controlplane.ports import ConflictError
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import intercept_kube
from controlplane.services.keys import shedding_key, users_key
from controlplane.services.queue import Key
from controlplane.services.rebalance.cells import Cells
from controlplane.services.shedding import FIGURES_SECONDS, SheddingService
from controlplane.settings import OperatorSettings

SETTINGS = OperatorSettings(addressing="PodIP")
KEY = shedding_key("kafka", "cell")
ON = {"mode": "Enabled", "raiseAfter": "10s", "releaseAfter": "20s"}


@dataclass
class Stage:
    namespace: Namespace
    gauge: FakeDelays
    woken: list[Key] = field(default_factory=list)

    def service(self, die: DieAt | None = None) -> SheddingService:
        """A new life."""
        kube = intercept_kube(self.namespace.kube, [die] if die else [])
        clock = self.namespace.clock
        return SheddingService(kube, self.gauge, clock, EventRecorder(kube, clock), SETTINGS, wake=self.woken.append)

    async def looks(self, one: SheddingService, seconds: float) -> float | None:
        again = None
        for _ in range(int(seconds / SETTINGS.delay_interval)):
            self.namespace.clock.seconds += SETTINGS.delay_interval
            again = await one.reconcile(KEY)
        return again

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.namespace.status()).get("loadShedding") or {}
        return found

    async def condition(self) -> tuple[str, str]:
        found = (await self.namespace.status())["conditions"]
        return next(((c["status"], c["reason"]) for c in found if c["type"] == "LoadShedding"), ("", ""))

    def down(self, broker: int) -> None:
        """Its pod is not ready."""
        for (plural, _, name), pod in self.namespace.kube.objects.items():
            if plural == "pods" and name.endswith(f"-{broker}"):
                ready = next(one for one in pod["status"]["conditions"] if one["type"] == "Ready")
                ready["status"] = "False"

    def events(self) -> list[str]:
        return [obj["reason"] for (plural, _, _), obj in self.namespace.kube.objects.items() if plural == "events"]


@pytest.fixture
async def stage() -> Stage:
    namespace = await created()
    await namespace.change(loadShedding=ON)
    return Stage(namespace, FakeDelays(namespace.clock))


async def test_it_is_off_by_default() -> None:
    namespace = await created()
    stage = Stage(namespace, FakeDelays(namespace.clock))
    before = await namespace.status()
    assert await stage.service().reconcile(KEY) is None, "nobody is watched, and nothing is asked again"
    assert await namespace.status() == before
    assert stage.gauge.watched == {}


async def test_every_broker_is_watched_where_the_operator_reaches_it(stage: Stage) -> None:
    assert await stage.looks(stage.service(), 2) == SETTINGS.delay_interval
    assert stage.gauge.watched["kafka/cell"] == {node: (f"127.9.1.{node}", 9091) for node in range(3)}


async def test_saturation_is_followed_level_by_level_and_back_to_nothing(stage: Stage) -> None:
    namespace, one = stage.namespace, stage.service()
    await stage.looks(one, 30)
    assert await stage.status() == {"level": 0, "message": "", "saturation": []}
    assert await stage.condition() == ("False", "NotSaturated")
    stage.gauge.waits = {1: 0.4, 2: 0.01}
    seen = []
    for _ in range(60):
        await stage.looks(one, 2)
        seen.append(((await stage.status())["level"], *await stage.condition()))
    assert list(dict.fromkeys(seen)) == [
        (0, "False", "NotSaturated"),
        *((level, "True", REASONS[Level(level)]) for level in (1, 2, 3)),
    ]
    status = await stage.status()
    assert "broker 1" in status["message"]
    assert status["saturation"][0] == {"broker": 1, "delayMilliseconds": 400}
    stage.gauge.waits = {}
    levels = []
    for _ in range(60):
        await stage.looks(one, 2)
        levels.append((await stage.status())["level"])
    assert list(dict.fromkeys(levels)) == [3, 2, 1, 0]
    assert stage.woken == [users_key("kafka", "cell")] * 6
    assert stage.events().count("LoadReleased") == 3
    assert {"RebalancesPaused", "BulkTightened", "StandardTightened"} <= set(stage.events())
    assert await stage.condition() == ("False", "NotSaturated")
    assert namespace.kafka.quotas == {}, "it writes to the status alone"


async def test_figures_are_written_seldom_and_none_at_rest(stage: Stage) -> None:
    one, kube = stage.service(), stage.namespace.kube
    await stage.looks(one, 2)
    version = (await kube.get(KAFKA_CLUSTERS, "cell", "kafka"))["metadata"]["resourceVersion"]
    await stage.looks(one, 10 * FIGURES_SECONDS)
    assert (await kube.get(KAFKA_CLUSTERS, "cell", "kafka"))["metadata"]["resourceVersion"] == version
    versions = set()
    for number in range(60):
        stage.gauge.waits = {0: 0.06 + 0.01 * (number % 3)}
        await stage.looks(one, 2)
        versions.add((await kube.get(KAFKA_CLUSTERS, "cell", "kafka"))["metadata"]["resourceVersion"])
    assert 2 <= len(versions - {version}) <= 3, "two minutes"


async def test_a_broker_that_is_down_is_not_load(stage: Stage) -> None:
    one = stage.service()
    stage.gauge.waits = {1: 0.4}
    await stage.looks(one, 14)
    assert (await stage.status())["level"] == 1
    stage.gauge.away = {1}
    stage.gauge.waits = {}
    await stage.looks(one, 100)
    assert (await stage.status())["level"] == 2, "it serves and does not answer: that may be its queue"
    stage.down(1)
    await stage.looks(one, 120)
    assert (await stage.status())["level"] == 0, "the others say that the cluster is relaxed"
    stage.gauge.away = {0, 1, 2}
    stage.namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["status"]["loadShedding"]["level"] = 2
    await stage.looks(one, 200)
    assert (await stage.status())["level"] == 2, "where nothing is known nothing changes"


async def test_turned_off_everything_is_lifted(stage: Stage) -> None:
    one = stage.service()
    before = await stage.namespace.status()
    stage.gauge.waits = {1: 0.4}
    await stage.looks(one, 30)
    assert (await stage.status())["level"] == 2
    await stage.namespace.change(loadShedding=ON | {"mode": "Disabled"})
    assert await stage.looks(one, 2) is None
    assert await stage.namespace.status() == before
    assert stage.gauge.watched == {}
    assert stage.woken[-1] == users_key("kafka", "cell")


async def test_another_operator_goes_on_from_the_level(stage: Stage) -> None:
    stage.gauge.waits = {1: 0.4}
    await stage.looks(stage.service(), 26)
    left = await stage.status()
    assert left["level"] == 2
    other = stage.service()
    await stage.looks(other, 8)
    assert await stage.status() == left, "its own time begins anew"
    await stage.looks(other, 8)
    assert (await stage.status())["level"] == 3


async def test_the_clusters_own_passes_leave_it_alone(stage: Stage) -> None:
    stage.gauge.waits = {1: 0.4}
    one = stage.service()
    await stage.looks(one, 30)
    left, condition = await stage.status(), await stage.condition()
    await stage.namespace.change(rollout={"soak": "3s"})
    await run_until_ready(stage.namespace, DieAt())
    assert (await stage.status(), await stage.condition()) == (left, condition)


async def test_a_spec_that_cannot_be_followed_changes_nothing(stage: Stage) -> None:
    stage.gauge.waits = {1: 0.4}
    one = stage.service()
    await stage.looks(one, 30)
    left = await stage.status()
    await stage.namespace.change(loadShedding=ON | {"relaxedBelow": "1s"})
    assert await stage.looks(one, 60) == SETTINGS.resync_interval
    assert await stage.status() == left
    cluster = service(stage.namespace, DieAt())
    await cluster.reconcile(Key("KafkaCluster", "kafka", "cell"))
    ready = next(c for c in (await stage.namespace.status())["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.loadShedding.relaxedBelow" in ready["message"]


async def test_a_cluster_that_moved_meanwhile_is_looked_at_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stage.service()
    stage.gauge.waits = {1: 0.4}
    await stage.looks(one, 8)

    async def moved(*_: Any, **__: Any) -> Any:
        raise ConflictError(409, "Conflict", "the object has been modified")

    with monkeypatch.context() as patched:
        patched.setattr(stage.namespace.kube, "replace", moved)
        assert await stage.looks(one, 6) == SETTINGS.settle_interval
    assert (await stage.status())["level"] == 0
    assert stage.woken == []
    await stage.looks(one, 2)
    assert (await stage.status())["level"] == 1, "it was due"


async def test_a_cluster_that_is_gone_is_watched_no_more(stage: Stage) -> None:
    one = stage.service()
    await stage.looks(one, 2)
    await stage.namespace.kube.delete(KAFKA_CLUSTERS, "cell", "kafka")
    assert await one.reconcile(KEY) is None
    assert stage.gauge.watched == {}


async def test_killed_before_and_after_each_write_it_goes_the_same_way(stage: Stage) -> None:
    before = await stage.namespace.status()

    async def killed(phase: str) -> bool:
        """Whether a life that dies at its first write came to one, within two minutes."""
        one = stage.service(DieAt(1, phase))
        try:
            await stage.looks(one, 120)
        except Killed:
            return True
        return False

    levels = [0]
    for waits in ({1: 0.4}, {}):
        stage.gauge.waits = waits
        while await killed("before"):
            assert (await stage.status()).get("level", 0) == levels[-1], "nothing was written"
            assert await killed("after")
            levels.append((await stage.status())["level"])
    assert [level for level, _ in groupby(levels)] == [0, 1, 2, 3, 2, 1, 0]
    await stage.namespace.change(loadShedding=ON | {"mode": "Disabled"})
    assert await killed("before")
    assert await killed("after")
    assert await stage.namespace.status() == before


async def test_a_rebalance_begins_no_batch_while_load_is_shed(stage: Stage) -> None:
    cells = Cells(stage.namespace.kube, stage.namespace.admins, stage.namespace.clock)
    one = stage.service()
    for waits, seconds, held in (({}, 10, []), ({1: 0.4}, 14, ["BrokersSaturated"]), ({}, 60, [])):
        stage.gauge.waits = waits
        await stage.looks(one, seconds)
        cluster = await cells.cluster("kafka/cell")
        observation = (await cells.observe(cluster)).observation
        found = gates(observation, None, cluster.status.load_shedding)
        assert [check.name for check in found] == held
