"""A small Kafka cluster under Kubernetes that rolls can be carried out on: pods, ISRs, leaders, voters, time.

It behaves as the parts do as far as a roll can tell: a stopped broker leaves the ISRs (its last member stays in it,
without a leader), a started one registers, catches up and rejoins, a stopped active controller is succeeded by a
caught-up voter, a quorum without majority leaves brokers unregistered, and a pod made from a bad spec crashes for ever.
`stop` records every stop, so that tests can see that none was doubled or did harm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from property.evaluator import harm
from property.strategies import NOW, RACKS, Shape, crashing, pod, starting

from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    PartitionObservation,
    PodObservation,
    QuorumObservation,
    TopicPartition,
    VoterObservation,
)
from controlplane.domain.rolling.values import (
    Action,
    ElectLeaders,
    Finalise,
    NodeTarget,
    RollTarget,
    StartNode,
    StopNode,
)


@dataclass
class ModelCluster:
    """`bad` are spec hashes with which no pod becomes ready. `rng` decides how long everything takes."""

    shape: Shape
    rng: Random
    partitions: list[PartitionObservation]
    bad: frozenset[str] = frozenset()
    now: float = NOW
    pods: dict[int, PodObservation | None] = field(default_factory=dict)
    registered: set[int] = field(default_factory=set)
    caught_up: set[int] = field(default_factory=set)
    active: int | None = None
    features: dict[str, int] = field(default_factory=lambda: {"metadata.version": 29, "kraft.version": 1})
    stops: list[tuple[int, str]] = field(default_factory=list)
    harms: list[str] = field(default_factory=list)
    most_down: int = 0

    @classmethod
    def healthy(cls, shape: Shape, rng: Random, *, topics: int = 4, spec_hash: str = "old") -> ModelCluster:
        """Everything up; topics at RF 3 (or all brokers) and min ISR RF - 1, led by their preferred replicas."""
        factor = min(3, len(shape.brokers))
        partitions = []
        for number in range(topics):
            replicas = tuple(rng.sample(shape.brokers, factor))
            partitions.append(PartitionObservation("t", number, replicas[0], replicas, replicas, max(1, factor - 1)))
        return cls(
            shape,
            rng,
            partitions,
            pods={node: pod(node, spec_hash=spec_hash) for node in shape.ids},
            registered=set(shape.brokers),
            caught_up=set(shape.controllers),
            active=rng.choice(shape.controllers),
        )

    @property
    def has_quorum(self) -> bool:
        return 2 * len(self.caught_up) > len(self.shape.controllers)

    def observe(self) -> ClusterObservation:
        answers = self.has_quorum and any((p := self.pods[b]) and p.ready for b in self.registered)
        voters = tuple(VoterObservation(c, f"d{c}", 9, 0, c in self.caught_up) for c in self.shape.controllers)
        brokers = tuple(BrokerObservation(b, RACKS[b % 3], f"127.1.0.{b}", 9091) for b in sorted(self.registered))
        return ClusterObservation(
            as_of=self.now,
            namespace="kafka",
            name="demo",
            nodes=tuple(NodeObservation(i, "pool", self.shape.roles(i), self.pods[i]) for i in self.shape.ids),
            kafka=KafkaObservation(self.now, "cluster", brokers, tuple(self.partitions), features=dict(self.features))
            if answers
            else None,
            quorum=QuorumObservation(self.now, self.active, 1, voters) if answers else None,
        )

    def act(self, action: Action, target: RollTarget) -> None:
        """Carry out one action as the service would, with its preconditions."""
        match action:
            case StopNode(node=node, pod_uid=uid):
                self._stop(node, uid)
            case StartNode(node):
                wanted = target.node(node)
                if wanted and self.pods[node] is None:
                    self.pods[node] = starting(replace(pod(node, spec_hash=wanted.spec_hash), version=wanted.version))
            case ElectLeaders(partitions):
                self._elect(set(partitions))
            case Finalise(levels):
                self.features |= levels
            case _:
                pass

    def tick(self) -> None:
        """Time passes: every node makes a step with some luck, and so does replication."""
        self.now += self.rng.choice((0.5, 1.0, 5.0))
        for node in self.shape.ids:
            if self.rng.random() < 0.6:
                self._step(node)
        if not self.has_quorum:
            self.active = None
        elif self.active not in self.caught_up:
            self.active = self.rng.choice(sorted(self.caught_up))

    def hiccup(self) -> None:
        """A kubelet restarts one pod's container: trouble that is not of our making."""
        node = self.rng.choice(self.shape.ids)
        observed = self.pods[node]
        if observed and observed.ready:
            self.pods[node] = replace(observed, ready=False, restarts=observed.restarts + 1)
            self._leave(node)

    def _stop(self, node: int, uid: str) -> None:
        observed = self.pods[node]
        if observed is None or observed.uid != uid or observed.terminating:
            return
        self.harms += harm(self.observe(), {node}, accept=False)
        self.stops.append((node, uid))
        self.pods[node] = replace(observed, terminating=True, ready=False)
        self._leave(node)
        down = [i for i in self.shape.ids if not ((p := self.pods[i]) and p.ready)]
        self.most_down = max(self.most_down, len(down))

    def _step(self, node: int) -> None:
        observed = self.pods[node]
        if observed is None:
            return
        if observed.terminating:
            self.pods[node] = None
        elif observed.spec_hash in self.bad:
            self.pods[node] = crashing(observed)
            self._leave(node)
        elif not observed.ready:
            self._come_up(node, observed)
        elif node in self.registered:
            self._catch_up(node)

    def _come_up(self, node: int, observed: PodObservation) -> None:
        """Controllers need nobody; brokers need a quorum to register with, and are ready once they have."""
        if node in self.shape.controllers and node not in self.caught_up:
            self.caught_up.add(node)
        elif node not in self.shape.brokers or node in self.registered:
            self.pods[node] = replace(observed, ready=True, waiting_reason=None)
        elif self.has_quorum:
            self.registered.add(node)

    def _catch_up(self, node: int) -> None:
        for index, p in enumerate(self.partitions):
            if node in p.replicas and node not in p.isr and p.leader is not None and self.rng.random() < 0.7:
                self.partitions[index] = replace(p, isr=(*p.isr, node))
            elif p.leader is None and node in p.isr:
                self.partitions[index] = replace(p, leader=node)

    def _leave(self, node: int) -> None:
        self.registered.discard(node)
        self.caught_up.discard(node)
        if self.active == node:
            self.active = self.rng.choice(sorted(self.caught_up)) if self.has_quorum else None
        for index, p in enumerate(self.partitions):
            if node in p.isr:
                left = tuple(r for r in p.isr if r != node)
                leader = p.leader if p.leader != node else next(iter(left), None)
                self.partitions[index] = replace(p, isr=left or p.isr, leader=leader)

    def _elect(self, partitions: set[TopicPartition]) -> None:
        for index, p in enumerate(self.partitions):
            if p.id in partitions and p.replicas[0] in p.isr:
                self.partitions[index] = replace(p, leader=p.replicas[0])


def everywhere(
    shape: Shape, spec_hash: str, *, soak: float = 20.0, finalise: Mapping[str, int] | None = None
) -> RollTarget:
    """Every node made from `spec_hash`."""
    nodes = tuple(NodeTarget(node, spec_hash, "4.3.1") for node in shape.ids)
    return RollTarget(f"Version {spec_hash}", nodes, soak_seconds=soak, finalise=finalise)


def emptied(observation: ClusterObservation, batch: Collection[int]) -> ClusterObservation:
    """What is seen once a KafkaRebalance with goal MoveAway has had these brokers: replicas of partitions that cannot
    spare one are on others, the lowest that have none. Raises ValueError where too few others are there."""
    kafka = observation.kafka
    if kafka is None:
        return observation
    brokers = sorted(broker.id for broker in kafka.brokers)

    def moved(p: PartitionObservation) -> PartitionObservation:
        if len(p.replicas) > p.min_isr or p.leader is None or not set(p.isr) & set(batch):
            return p
        kept = [b for b in p.replicas if b not in batch]
        others = [b for b in brokers if b not in batch and b not in kept]
        on = tuple((kept + others)[: len(p.replicas)])
        if len(on) < len(p.replicas):
            raise ValueError(f"{p.id} has nowhere to go from {sorted(batch)}")
        isr = tuple(b for b in on if b in p.isr or b not in p.replicas)
        return replace(p, replicas=on, isr=isr, leader=p.leader if p.leader in isr else isr[0])

    return replace(observation, kafka=replace(kafka, partitions=tuple(moved(p) for p in kafka.partitions)))
