"""A cluster and the KafkaRebalances that it asks for, both on the engine, on fakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.approvals import approval
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, Walk, around, service

from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.propose import propose
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible
from controlplane.ports import KubeApi
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import Interceptor, intercept_admins, intercept_kube
from controlplane.services.keys import rebalance_key
from controlplane.services.operation.approvals import APPROVALS
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.frozen import FrozenKind
from controlplane.services.operation.lock import CellGuard
from controlplane.services.rebalance.asked import REBALANCES
from controlplane.services.rebalance.cells import Cells
from controlplane.services.rebalance.recipe import RebalanceRecipe

Object = dict[str, Any]


class Pure:
    """Implements RebalancePlanner in this process."""

    async def propose(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> Proposal | Infeasible:
        return propose(assignment, brokers, goal, None)


@dataclass
class Stage:
    """`made` are names of all KafkaRebalances that there ever were; `harms` what went down under a partition of
    `unsparable` topics, which cannot spare a replica (None: under any partition)."""

    namespace: Namespace
    unsparable: tuple[str, ...] | None = None
    made: list[str] = field(default_factory=list)
    harms: list[str] = field(default_factory=list)

    def cluster(self, die: Interceptor | None = None) -> Engine:
        """A new life of the operator; of its rebalances as well: `rebalances`."""
        return service(self.namespace, die or DieAt())

    def rebalances(self, die: Interceptor | None = None) -> Engine:
        interceptors = [die or DieAt(), CellGuard()]
        kube: KubeApi = intercept_kube(self.namespace.kube, interceptors)
        admins, clock = intercept_admins(self.namespace.admins, interceptors), self.namespace.clock
        settings = SETTINGS.model_copy(update={"growth_seconds": 0.001})
        recipe = RebalanceRecipe(Cells(kube, admins, clock), Pure(), clock, settings, doubt_seconds=3)
        return Engine(FrozenKind(recipe, kube, clock, EventRecorder(kube, clock)), around(kube, clock, settings))

    async def turn(self, cluster: Engine, moves: Engine | None) -> None:
        """A second: one pass of the cluster and, with `moves`, of each KafkaRebalance. Raises Killed."""
        self.namespace.turn()
        self.look()
        self.made += [name for name in await self.there() if name not in self.made]
        await cluster.reconcile(KEY)
        self.look()
        if moves is not None:
            for name in await self.there():
                await moves.reconcile(rebalance_key("kafka", name))

    def look(self) -> None:
        kafka = self.namespace.kafka
        away = kafka.registered - kafka.up
        for topic in kafka.topics if self.unsparable is None else self.unsparable:
            for number, one in enumerate(kafka.topics[topic].partitions):
                if away & set(one.replicas):
                    self.harms.append(f"{topic}-{number} on {one.replicas} without {sorted(away)}")

    async def there(self) -> list[str]:
        return [one["metadata"]["name"] for one in await self.namespace.kube.list(REBALANCES, "kafka")]

    async def until_ready(self, passes: int = 400) -> None:
        cluster, moves = self.cluster(), self.rebalances()
        for _ in range(passes):
            await self.turn(cluster, moves)
            if await self.namespace.ready():
                return
        raise AssertionError(f"not Ready: {await self.namespace.status()}")

    async def walk_until_ready(self, passes: int = 1500) -> int:
        """With the operator killed before and after each write; how many writes there were."""
        walk = Walk()
        life = self.cluster(walk), self.rebalances(walk)
        for _ in range(passes):
            try:
                await self.turn(*life)
            except Killed:
                life = self.cluster(walk), self.rebalances(walk)
            if await self.namespace.ready():
                return walk.number
        raise AssertionError(f"not Ready: {await self.namespace.status()}")

    async def blocked(self, reason: str, *, moves: bool = True, passes: int = 60) -> str:
        """Until the roll is blocked for that reason; the message."""
        cluster, rebalances = self.cluster(), self.rebalances()
        for _ in range(passes):
            await self.turn(cluster, rebalances if moves else None)
            found = await self.condition()
            if found.get("reason") == reason:
                return str(found["message"])
        raise AssertionError(f"not {reason}: {await self.condition()}")

    async def condition(self) -> Object:
        conditions = (await self.namespace.status())["conditions"]
        return next(one for one in conditions if one["type"] == "Blocked")

    async def only(self) -> Object:
        (name,) = await self.there()
        return dict(await self.namespace.kube.get(REBALANCES, name, "kafka"))

    async def decide(self, obj: Object, decision: str = "Approve") -> None:
        """Bob says what he thinks of its plan."""
        given = approval(
            by="bob",
            plan_hash=obj["status"]["operation"]["planHash"],
            uid=obj["metadata"]["uid"],
            at=self.namespace.clock.now(),
            decision=decision,
            kind=obj["kind"],
            name=obj["metadata"]["name"],
        )
        await self.namespace.kube.create(APPROVALS, given)

    def restarts(self) -> dict[str, int]:
        return {name: len(uids) - 1 for name, uids in self.namespace.uids.items()}
