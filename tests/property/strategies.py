"""Observations, targets and progress for property tests: mostly calm clusters, some troubled, some absurd.

Absurd ones (a broker in sync that has no pod, a quorum led by a stranger) are wanted: a planner sees the world through
several calls made at slightly different times.

Hypothesis chooses the cluster's size and a seed, and shrinks both; everything else follows from the seed. Drawing each
field by itself costs 20 ms a cluster, and then thousands of them no longer fit into `make check`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    PartitionObservation,
    PodObservation,
    QuorumObservation,
    Role,
    TopicPartition,
    VoterObservation,
)
from controlplane.domain.rolling.values import (
    Intent,
    NodeTarget,
    RollProgress,
    RollTarget,
    Step,
    UnprotectedPolicy,
)

RACKS = ("a", "b", "c")
NOW = 1_000_000.0
BOTH = frozenset({Role.CONTROLLER, Role.BROKER})


def pod(node_id: int, *, spec_hash: str = "old", ready: bool = True) -> PodObservation:
    """A healthy pod; its uid tells the node and what it was made from."""
    return PodObservation(
        name=f"demo-{node_id}",
        uid=f"uid-{node_id}-{spec_hash}",
        resource_version="1",
        spec_hash=spec_hash,
        version="4.2.0",
        ip=f"127.1.0.{node_id}",
        rack=RACKS[node_id % 3],
        scheduled=True,
        ready=ready,
        terminating=False,
    )


def healthy(observed: PodObservation) -> PodObservation:
    return observed


def starting(observed: PodObservation) -> PodObservation:
    return replace(observed, ready=False)


def crashing(observed: PodObservation) -> PodObservation:
    return replace(observed, ready=False, restarts=4, waiting_reason="CrashLoopBackOff", waiting_message="exit code 1")


def unscheduled(observed: PodObservation) -> PodObservation:
    return replace(observed, ready=False, scheduled=False, ip=None)


def terminating(observed: PodObservation) -> PodObservation:
    return replace(observed, terminating=True)


def missing(_: PodObservation) -> None:
    return None


TROUBLES = (starting, crashing, unscheduled, terminating, missing)


@dataclass(frozen=True)
class Shape:
    """Which nodes a cluster has: ids by role."""

    controllers: tuple[int, ...]
    brokers: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(sorted({*self.controllers, *self.brokers}))

    def roles(self, node_id: int) -> frozenset[Role]:
        return frozenset(
            role for role, ids in ((Role.CONTROLLER, self.controllers), (Role.BROKER, self.brokers)) if node_id in ids
        )


def shape(rng: Random, size: int) -> Shape:
    """1, 3 or 5 controllers, apart from up to `size` brokers or combined with them."""
    controllers = rng.choice((1, 3, 3, 3, 5)) if size > 1 else 1
    brokers = rng.randint(1, size)
    if rng.random() < 0.5:
        return Shape(tuple(range(controllers)), tuple(range(max(controllers, brokers))))
    return Shape(tuple(range(10, 10 + controllers)), tuple(range(brokers)))


def partition(rng: Random, brokers: tuple[int, ...], number: int) -> PartitionObservation:
    """RF 1 to 4, min ISR 1 to 3, any ISR; the leader is in the ISR or nobody."""
    replicas = tuple(rng.sample(brokers, min(len(brokers), rng.choice((1, 2, 3, 3, 3, 4)))))
    in_sync = replicas if rng.random() < 0.6 else tuple(r for r in replicas if rng.random() < 0.6)
    leader = rng.choice(in_sync) if in_sync and rng.random() < 0.9 else None
    return PartitionObservation(f"t{number % 3}", number, leader, replicas, in_sync, rng.choice((1, 2, 2, 2, 3)))


def kafka(rng: Random, brokers: tuple[int, ...], size: int) -> KafkaObservation:
    """Usually every broker is live; now and then one has not registered, or a partition is being reassigned."""
    live = brokers if rng.random() < 0.8 else tuple(b for b in brokers if rng.random() < 0.7)
    seen = tuple(partition(rng, brokers, number) for number in range(rng.randint(0, size)))
    return KafkaObservation(
        as_of=NOW,
        cluster_id="cluster",
        brokers=tuple(BrokerObservation(i, RACKS[i % 3], f"127.1.0.{i}", 9091) for i in live),
        partitions=seen,
        reassigning=(seen[0].id,) if seen and rng.random() < 0.1 else (),
        features={"metadata.version": rng.choice((29, 30)), "kraft.version": 1},
    )


def quorum(rng: Random, controllers: tuple[int, ...]) -> QuorumObservation:
    """Usually all voters caught up; now and then voters lag, are missing, or nobody leads."""
    calm = rng.random() < 0.6
    voters = tuple(
        VoterObservation(i, f"dir-{i}", 1000, 0 if caught_up else 50, caught_up)
        for i in controllers
        if (caught_up := calm or rng.random() < 0.6) or rng.random() < 0.9
    )
    return QuorumObservation(NOW, rng.choice((*controllers, *controllers, None)), 3, voters)


def observation(rng: Random, size: int) -> ClusterObservation:
    """Any cluster: between none and all of its nodes in trouble, any section unread."""
    wanted = shape(rng, size)
    troubled = rng.choice(((), (), (rng.choice(wanted.ids),), wanted.ids))
    nodes = []
    for node_id in wanted.ids:
        state = rng.choice((healthy, *TROUBLES)) if node_id in troubled else healthy
        made_from = rng.choice(("old", "old", "new"))
        nodes.append(NodeObservation(node_id, "pool", wanted.roles(node_id), state(pod(node_id, spec_hash=made_from))))
    unread = rng.randint(0, 9)
    return ClusterObservation(
        as_of=NOW,
        namespace="kafka",
        name="demo",
        nodes=tuple(nodes),
        kafka=None if unread in {0, 1} else kafka(rng, wanted.brokers, size),
        quorum=None if unread in {0, 2} else quorum(rng, wanted.controllers),
    )


def target(rng: Random, observed: ClusterObservation) -> RollTarget:
    """New specs for all nodes, or for some."""
    everything = rng.random() < 0.5
    return RollTarget(
        goal="Restart",
        nodes=tuple(
            NodeTarget(n.id, "new" if everything or rng.random() < 0.5 else "old", "4.3.1") for n in observed.nodes
        ),
        unprotected=rng.choice(tuple(UnprotectedPolicy)),
        soak_seconds=rng.choice((0.0, 60.0)),
        finalise=rng.choice((None, {"metadata.version": 30})),
    )


def progress(rng: Random, observed: ClusterObservation) -> RollProgress:
    """A fresh roll, or one that was killed anywhere, with a record that may or may not fit what is seen."""
    if rng.random() < 0.5:
        return RollProgress("roll-1", "Restart")
    ids = [n.id for n in observed.nodes]
    known = [p.id for p in observed.kafka.partitions] if observed.kafka else [TopicPartition("gone", 0)]
    node = rng.choice(ids)
    return RollProgress(
        "roll-1",
        "Restart",
        rng.choice(tuple(Step)),
        Intent(rng.choice((Step.STOPPING, *Step)), node, rng.choice((f"uid-{node}-old", f"uid-{node}-new", None))),
        {
            i: frozenset(p for p in known if rng.random() < 0.3)
            for i in rng.sample(ids, rng.randint(0, min(2, len(ids))))
        },
        rng.choice((None, NOW - 120, NOW - 10, NOW + 10)),
    )


def one_pass(size: int, seed: int) -> tuple[ClusterObservation, RollTarget, RollProgress]:
    """Everything one pass of a roll plans from."""
    rng = Random(seed)
    observed = observation(rng, size)
    return observed, target(rng, observed), progress(rng, observed)


passes = st.builds(one_pass, size=st.integers(1, 5), seed=st.integers(0, 2**32))


def many_passes(size: int, seed: int) -> list[tuple[ClusterObservation, RollTarget, RollProgress]]:
    return [one_pass(size, seed + offset) for offset in range(CASES)]


CASES = 25
"""Cases of one example: Hypothesis' own bookkeeping costs more than a case does."""

batches_of_passes = st.builds(many_passes, size=st.integers(1, 5), seed=st.integers(0, 2**32))
