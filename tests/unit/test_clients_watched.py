"""When clients are watched and how long the first stop waits: witnesses that fail, holds of days, short settings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState
from support.fake_witness import FakeWitness, well
from support.operator import QUICK
from support.simulation import KEY, DieAt, Namespace, created, run_until_ready, service

from controlplane.adapters.kafka import lags as lags_module
from controlplane.adapters.kafka import witness as witness_module
from controlplane.adapters.kafka.lags import GroupLags
from controlplane.adapters.kafka.witness import ClientWitnesses
from controlplane.api import names
from controlplane.api.duration import parse_seconds
from controlplane.api.rollout import Rollout
from controlplane.domain.observation import (
    BrokerCanary,
    CanaryObservation,
    ClientObservation,
    ClusterObservation,
    GroupObservation,
)
from controlplane.domain.rolling import canary, faults
from controlplane.domain.rolling.canary import LagSample
from controlplane.domain.rolling.watch import UpgradeWatch
from controlplane.domain.rolling.witness import LEARN_ATTEMPTS, LEARN_LOOKS, ClientLevel, client_checks
from controlplane.ports import ClientTls
from controlplane.sandbox.objects import OPERATOR_ENV
from controlplane.services.cluster.kind import KAFKA_CLUSTERS


def answered(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class Groups:
    """An admin client of three groups; it refuses to ask for two of them, each in its own way."""

    def __init__(self, _: object) -> None: ...

    def list_consumer_groups(self, **_: object) -> Future[Any]:
        found = [SimpleNamespace(group_id=name, state=ConsumerGroupState.STABLE) for name in ("", "odd", "orders")]
        return answered(SimpleNamespace(valid=found, errors=[]))

    def list_consumer_group_offsets(self, asked: list[Any], **_: object) -> dict[str, Future[Any]]:
        name = asked[0].group_id
        if name == "odd":
            raise ValueError("this group cannot be asked for")
        offset = SimpleNamespace(topic="t", partition=0, offset=5)
        return {name: answered(SimpleNamespace(topic_partitions=[offset]))}

    def list_offsets(self, asked: dict[Any, Any], **_: object) -> dict[Any, Future[Any]]:
        return {partition: answered(SimpleNamespace(offset=12)) for partition in asked}


def test_a_group_that_cannot_be_asked_for_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client raises for "", the group of consumers that have none and commit."""
    monkeypatch.setattr(lags_module, "AdminClient", Groups)
    sample = GroupLags(["127.0.0.1:1"]).sample(1.0)
    assert sample is not None
    assert sample.lags == {"orders": 7}


async def test_a_witness_that_fails_begins_anew_in_the_same_watch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    class Failing:
        def __init__(self, _: Sequence[str], __: ClientTls | None) -> None: ...

        def sample(self, _: float) -> LagSample:
            attempts.append(len(attempts))
            if len(attempts) < 4:
                raise ValueError("no such thing")
            return LagSample(asyncio_time(), {"orders": 3})

    def asyncio_time() -> float:
        return time.monotonic()

    monkeypatch.setattr(lags_module, "GroupLags", Failing)
    monkeypatch.setattr(witness_module, "AGAIN_SECONDS", 0.01)
    witness = ClientWitnesses(threads=1, idle=30.0)
    try:
        with caplog.at_level(logging.ERROR):
            seen = await witness.look("cell", ["127.0.0.1:1"], (), 1.0)
            for _ in range(500):
                await asyncio.sleep(0.01)
                before, seen = seen, await witness.look("cell", ["127.0.0.1:1"], (), 1.0)
                assert seen.watched_seconds >= before.watched_seconds, "the same watch"
                if seen.groups:
                    break
        assert seen.groups == (GroupObservation("orders", (3,), 0.0),)
        assert len([one for one in caplog.records if "begins anew" in one.message]) == 1, "each failure is told once"
    finally:
        await witness.close()


class Dying(FakeWitness):
    """Every look begins a new watch: what it has seen is always nothing."""

    async def look(
        self,
        cluster_key: str,
        bootstrap_servers: Sequence[str],
        leaders: Sequence[int | None] | None,
        as_of: float,
        tls: ClientTls | None = None,
    ) -> ClientObservation:
        await super().look(cluster_key, bootstrap_servers, leaders, as_of)
        return ClientObservation(as_of)


def begun(namespace: Namespace) -> bool:
    return any(len(uids) > 1 for uids in namespace.uids.values())


async def seconds_until_begun(namespace: Namespace, witness: FakeWitness, *, anew: bool = False) -> int:
    one = service(namespace, DieAt(), witness=witness)
    for passed in range(200):
        namespace.turn()
        if anew:
            one = service(namespace, DieAt(), witness=witness)
        await one.reconcile(KEY)
        if begun(namespace):
            return passed
    raise AssertionError((await namespace.status())["operation"])


@pytest.mark.parametrize("anew", [False, True])
async def test_an_upgrade_does_not_wait_for_ever_for_a_witness_that_dies(*, anew: bool) -> None:
    """Nor for an operator that is begun anew at every pass: the status knows since when."""
    namespace = await created()
    await namespace.change(version="4.3.1")
    assert 60 <= await seconds_until_begun(namespace, Dying(), anew=anew) <= 66


async def test_a_level_is_learned_before_the_first_stop_and_no_longer_than_that() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    assert 30 <= await seconds_until_begun(namespace, FakeWitness()) <= 36


async def test_nobody_is_watched_while_an_upgrade_is_held_and_the_level_is_learned_after_it() -> None:
    namespace, witness = await created(), FakeWitness()
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"].setdefault("annotations", {})[names.PAUSED] = "true"
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(100):
        namespace.turn()
        await one.reconcile(KEY)
    assert (await namespace.status())["operation"]["step"]["verb"] == "Blocked"
    assert witness.looks == []
    assert canary.TOPIC not in namespace.kafka.topics
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    del obj["metadata"]["annotations"][names.PAUSED]
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    assert 30 <= await seconds_until_begun(namespace, witness) <= 36
    assert "clientsBefore" in (await namespace.status())["operation"]["step"]["parameters"]
    assert canary.TOPIC in namespace.kafka.topics


@pytest.mark.parametrize("paused", [False, True])
async def test_a_change_of_members_has_its_turn_before_an_upgrade_that_learns_held_or_not(*, paused: bool) -> None:
    """Whose turn it is must not depend on what people hold: it is what they hold that is to be found out."""
    namespace, witness = Namespace(), FakeWitness()
    await namespace.declare(rollout={"soak": "2s", "canary": "Disabled"})
    await run_until_ready(namespace, DieAt())
    (pool,) = (await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))["spec"]["nodePools"]
    namespace.kafka.directories.update({3: "directory-3", 4: "directory-4"})
    await namespace.change(nodePools=[pool | {"replicas": 5}])
    await run_until_ready(namespace, DieAt())
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    assert (await namespace.status())["operation"]["kind"] == "Roll"
    if paused:
        obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        obj["metadata"].setdefault("annotations", {})[names.PAUSED] = "true"
        await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await namespace.change(nodePools=[pool | {"replicas": 3}])
    for _ in range(2):
        namespace.turn()
        await one.reconcile(KEY)
    assert (await namespace.status())["operation"]["kind"] == "Membership"


SHORT = float(QUICK["KFLEET_LEARN_SECONDS"])


def test_a_short_time_asks_for_as_much_evidence() -> None:
    """What e2e operators are given, three seconds, is no level of three brokers' canary; nor are two looks at a lag."""
    probes = CanaryObservation(LEARN_ATTEMPTS - 1, 0, 0.004, 0.02)
    assert float(QUICK["KFLEET_LEARN_LONGEST"]) * 3 < LEARN_ATTEMPTS
    assert ClientLevel.learn(ClientObservation(1.0, SHORT, probes, ()), SHORT) is None
    assert ClientLevel.learn(ClientObservation(1.0, SHORT, replace(probes, attempts=LEARN_ATTEMPTS), ()), SHORT)
    few = GroupObservation("orders", (10,) * (LEARN_LOOKS - 1), 5.0)
    level = ClientLevel.learn(ClientObservation(1.0, SHORT, None, (few,), groups_left_out=7), SHORT)
    growing = GroupObservation("orders", tuple(range(0, 70_000, 10_000)), 60.0)
    (check,) = client_checks(ClientObservation(2.0, 60.0, None, (growing,)), level)
    assert check.ok, "nobody knows how fast it grew before"


def test_slow_clients_roll_nothing_back_before_they_have_been_slow_for_all_of_fault_after() -> None:
    """The shortest level of a fast moment against the slowest machine, slow at every single look: with the default
    `faultAfter`, ten minutes, an upgrade of two to four minutes cannot be taken back by it. One good look ends it."""
    fault_after = parse_seconds(Rollout().fault_after)
    assert fault_after == 600.0
    quick = replace(well((0, 1, 2)), attempts=LEARN_ATTEMPTS)
    level = ClientLevel.learn(ClientObservation(0.0, SHORT, quick, ()), SHORT)
    assert level is not None
    slow = CanaryObservation(30, 0, 9.0, 9.9, tuple(BrokerCanary(broker, 10, 0, 9.0) for broker in range(3)))

    def held(until: float, good: float = -1.0) -> bool:
        watch, found = UpgradeWatch("4.2.0", "4.3.1", level=level), False
        for second in range(int(until) + 1):
            clients = ClientObservation(second, 60.0, well((0, 1, 2)) if second == good else slow)
            world = ClusterObservation(float(second), "kafka", "cell", (), clients=clients)
            seen = faults.look(world, watch, {}, fault_after)
            watch, found = seen.watch, found or "CanarySlow" in [fault.name for fault in seen.faults]
        return found

    assert not held(fault_after - 1)
    assert held(fault_after), "the control: what lasts is found"
    assert not held(fault_after + 300, good=400)


def test_the_sandbox_learns_a_level_in_seconds() -> None:
    env = {entry["name"]: float(entry["value"]) for entry in OPERATOR_ENV if entry["name"].startswith("KFLEET_LEARN")}
    assert env == {"KFLEET_LEARN_SECONDS": 5.0, "KFLEET_LEARN_LONGEST": 15.0}
