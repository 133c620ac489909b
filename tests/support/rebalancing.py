"""A rebalance on a Kafka cluster in memory: the real verbs and the real engine's transitions, killed wherever a test
wants. Only the operation and the cluster survive a kill.

`Auditor` stands before the cluster and writes down what must not happen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.fake_kafka import RATES, FakeKafka, FakeKafkaAdmin, FakePartition, FakeTopic

from controlplane.api.operation import Operation, OperationStep
from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.operation.frozen import FrozenSteps, Situation, advance
from controlplane.domain.operation.permit import FREE, Permit
from controlplane.domain.operation.plan import Plan, frozen_operation
from controlplane.domain.rebalance import throttle
from controlplane.domain.rebalance.bounds import Bounds
from controlplane.domain.rebalance.hops import batches
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.steps import steps
from controlplane.domain.tenants.directory import Cell, Directory, directory
from controlplane.ports import KafkaError
from controlplane.services.intercept import KAFKA_MUTATIONS
from controlplane.services.operation.verbs import look_ahead, traits_of
from controlplane.services.rebalance.cells import Cells
from controlplane.services.rebalance.verbs import verbs

CELL = "kafka/cell"
RATE = 4 * 1024 * 1024
PASSES = 2000
CANCEL = Permit((Check("Cancelled", ok=False, evidence="no more"),), stop="Cancelled")


class KilledError(BaseException):
    """The operator's process ended here."""


@dataclass
class Deaths:
    """Dies before or after mutating call N, once: `when` is "before" or "after"."""

    number: int = 0
    when: str = ""
    calls: int = 0

    def reached(self, when: str) -> None:
        if self.calls == self.number and when == self.when:
            self.number = -1
            raise KilledError


class Auditor(FakeKafkaAdmin):
    """The cluster's admin, which writes down harms: what invariants of a rebalance forbid."""

    def __init__(self, kafka: FakeKafka, per_broker: int, deaths: Deaths) -> None:
        super().__init__(kafka)
        self._per_broker, self._deaths = per_broker, deaths

    async def alter_partition_reassignments(
        self, targets: Mapping[TopicPartition, Sequence[int] | None]
    ) -> dict[TopicPartition, KafkaError | None]:
        results = await super().alter_partition_reassignments(targets)
        load: Counter[int] = Counter()
        for name, one in self.kafka.in_flight().items():
            load.update(one.adding)
            if len(one.adding) > 1:
                self.kafka.harms.append(f"{name}: {sorted(one.adding)} at once")
            self._check_throttled(name, one)
        self.kafka.harms += [f"{n} copies to broker {b}" for b, n in load.items() if n > self._per_broker]
        served = Counter(one.leader for one in self.kafka.in_flight().values() if one.adding)
        self.kafka.harms += [f"{n} copies from broker {b}" for b, n in served.items() if n > self._per_broker]
        return results

    def _check_throttled(self, name: TopicPartition, one: FakePartition) -> None:
        config = self.kafka.topics[name.topic].config
        for side in throttle.SIDES:
            listed = config.get(throttle.replicas_key(side), "")
            brokers = one.adding if side == throttle.FOLLOWER else set(one.isr)
            missing = [b for b in brokers if f"{name.partition}:{b}" not in listed.split(",") and listed != "*"]
            if missing or throttle.rate_key(side) not in self.kafka.dynamic_config:
                self.kafka.harms.append(f"{name}: copied without a throttle ({side}: {listed or 'nothing'})")

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in KAFKA_MUTATIONS:
            return found
        deaths: Deaths = self._deaths

        async def call(*args: Any, **kwargs: Any) -> Any:
            deaths.calls += 1
            deaths.reached("before")
            answer = await found(*args, **kwargs)
            deaths.reached("after")
            return answer

        return call


class OneCell(Cells):
    """What verbs ask of it."""

    def __init__(self, admin: FakeKafkaAdmin, tenants: Directory, capacities: dict[int, int]) -> None:
        self._admin, self.tenants, self._capacities = admin, tenants, capacities

    async def admin(self, cell: str) -> FakeKafkaAdmin:
        assert cell == CELL
        return self._admin

    async def capacities(self, cell: str) -> dict[int, int]:
        assert cell == CELL
        return dict(self._capacities)

    async def bounds(self, cell: str) -> Bounds:
        namespace, _, name = cell.partition("/")
        return Bounds(self.tenants, Cell(namespace, name))


@dataclass
class Clock:
    time: float = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def cluster(placement: Mapping[str, Sequence[tuple[int, ...]]], brokers: int) -> FakeKafka:
    """Brokers 1 to `brokers`; every partition is in sync and led by its preferred leader."""
    kafka = FakeKafka(nodes=brokers)
    for topic, partitions in placement.items():
        made = [FakePartition(on, on, on[0], size=1000 * (n + 1)) for n, on in enumerate(partitions)]
        kafka.topics[topic] = FakeTopic(f"{topic:A<22}"[:22], made, {})
    return kafka


def moves(before: Mapping[str, Sequence[tuple[int, ...]]], after: Mapping[str, Sequence[tuple[int, ...]]]) -> Proposal:
    found = [
        PartitionMove(topic, number, old, new, 1000 * (number + 1))
        for topic, partitions in sorted(before.items())
        for number, (old, new) in enumerate(zip(partitions, after[topic], strict=True))
        if old != new
    ]
    return Proposal(tuple(found), bound=0)


def placed(kafka: FakeKafka) -> dict[str, list[tuple[int, ...]]]:
    return {name: [one.replicas for one in topic.partitions] for name, topic in kafka.topics.items()}


def settings_of(kafka: FakeKafka) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Everything that throttles are set with."""
    rates = {key: value for key, value in kafka.dynamic_config.items() if key in RATES}
    return {name: dict(topic.config) for name, topic in kafka.topics.items()}, rates


@dataclass
class Rebalancing:
    """Passes of an operator over one operation. `before_pass` may change the world or say what is permitted."""

    kafka: FakeKafka
    proposal: Proposal
    per_broker: int = 2
    permits: Callable[[int], Permit] = lambda _: FREE
    gates: Callable[[int], tuple[Check, ...]] = lambda _: ()
    before_pass: Callable[[int], object] = lambda _: None
    deaths: Deaths = field(default_factory=Deaths)
    wrap: Callable[[FakeKafkaAdmin], FakeKafkaAdmin] = lambda admin: admin
    tenants: Directory = field(default_factory=lambda: directory(()))
    capacities: dict[int, int] = field(default_factory=dict)
    """Bytes of brokers, as they are while it is carried out."""
    room: dict[int, int] = field(default_factory=dict)
    """What they had left when it was planned."""

    def __post_init__(self) -> None:
        racks = {node: "abc"[(node - 1) % 3] for node in self.kafka.ids}
        topics = {name: topic.config for name, topic in self.kafka.topics.items()}
        found = steps(
            CELL,
            batches(self.proposal, racks, per_broker=self.per_broker, room=self.room),
            RATE,
            lambda hops: throttle.kept(hops, RATE, topics, self.kafka.dynamic_config),
            per_broker=self.per_broker,
        )
        self.clock = Clock()
        self._follow(found)
        self.passes = 0
        self.waited: set[str] = set()
        self._live()

    def _follow(self, found: tuple[OperationStep, ...]) -> None:
        self.plan = FrozenSteps.of(found)
        plan = Plan("Rebalance", "Frozen", "g", found)
        self.operation = frozen_operation(plan, "rebalance-1-a", reference=None, now=self.clock.now())

    def forget(self, parameter: str) -> None:
        """What an older version did not write into its steps."""
        self._follow(
            tuple(
                step.model_copy(update={"parameters": {k: v for k, v in step.parameters.items() if k != parameter}})
                for step in self.plan.steps.values()
            )
        )

    def _live(self) -> None:
        """A life of the operator: what verbs remember is forgotten."""
        admin = self.wrap(Auditor(self.kafka, self.per_broker, self.deaths))
        self.verbs = verbs(OneCell(admin, self.tenants, self.capacities), self.clock)

    def one_pass(self, killed: str = "") -> None:
        asyncio.run(self._one_pass(killed))

    async def _one_pass(self, killed: str) -> None:
        self.before_pass(self.passes)
        permit, gates = self.permits(self.passes), self.gates(self.passes)
        self.passes += 1
        self.clock.time += 3
        try:
            looks = await look_ahead(self.operation, self.plan, self.verbs, now=self.clock.now())
            situation = Situation(self.plan, looks, permit, self.clock.now(), traits_of(self.verbs), gates=gates)
            move = advance(self.operation, situation)
            _die_if(killed == "before the write")
            self.operation = Operation.model_validate(move.operation.to_object())
            if self.operation.step is not None:
                self.waited |= {check.name for check in self.operation.step.checks}
            _die_if(killed == "before the act")
            if move.act is not None:
                await self.verbs[move.act.step.verb].act(move.act)
        except KilledError:
            self._live()
        except KafkaError:
            return  # the pass is repeated

    def to_the_end(self, killed: Iterable[str] = ()) -> Operation:
        left = iter(killed)
        for _ in range(PASSES):
            self.one_pass(next(left, ""))
            if self.operation.outcome is not None:
                return self.operation
        raise AssertionError(f"not over after {PASSES} passes: {self.operation.step} {self.operation.message}")


def _die_if(now: bool) -> None:  # noqa: FBT001 - reads as what it does
    if now:
        raise KilledError
