"""KafkaRebalance as a Recipe of frozen operations: how its plan is made, what holds it, what its status says."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from controlplane.api import conditions as c
from controlplane.api import kafka_rebalance as api
from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_rebalance import KafkaRebalance, KafkaRebalanceStatus
from controlplane.api.operation import Operation, OperationStatus
from controlplane.api.rollout import ApprovalPolicy
from controlplane.api.validate import check_rebalance
from controlplane.api.validate import explain as explain_problems
from controlplane.domain.check import Check
from controlplane.domain.cluster import emptying
from controlplane.domain.cluster.layout import Layout, lay_out
from controlplane.domain.cluster.observe import capacities
from controlplane.domain.cluster.world import World
from controlplane.domain.membership.brokers import known
from controlplane.domain.observation import KafkaObservation, NodeObservation, PartitionObservation, TopicPartition
from controlplane.domain.operation.frozen import FrozenSteps
from controlplane.domain.operation.plan import Plan
from controlplane.domain.rebalance import gates as gate
from controlplane.domain.rebalance import room, throttle
from controlplane.domain.rebalance import steps as plan_steps
from controlplane.domain.rebalance import values as goals
from controlplane.domain.rebalance.asked import INFEASIBLE
from controlplane.domain.rebalance.bounds import Bounds
from controlplane.domain.rebalance.hops import Hop, NoRoomError, batches
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.status import Pace, RebalancePlan, described, how_good, summary_of
from controlplane.domain.rolling.health import listing
from controlplane.ports import Clock, KafkaAdmin, Object, PlanningError, RebalancePlanner
from controlplane.services.operation.kind import Request
from controlplane.services.rebalance.asked import REBALANCES
from controlplane.services.rebalance.cells import CellGoneError, Cells
from controlplane.services.rebalance.verbs import DOUBT_SECONDS, cluster_not_found, verbs
from controlplane.settings import OperatorSettings

KIND = "Rebalance"
_REMEMBERED_PACES = 64


class RebalanceRecipe:
    """Implements services.operation.frozen.Recipe."""

    resource = REBALANCES

    def __init__(
        self,
        cells: Cells,
        planner: RebalancePlanner,
        clock: Clock,
        settings: OperatorSettings,
        *,
        doubt_seconds: float = DOUBT_SECONDS,
    ) -> None:
        self._cells, self._planner, self._clock, self._settings = cells, planner, clock, settings
        self.verbs = verbs(cells, clock, doubt_seconds=doubt_seconds)
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def cell(self, obj: Object) -> str:
        return f"{obj['metadata']['namespace']}/{obj['spec']['clusterRef']['name']}"

    def status_of(self, obj: Object) -> KafkaRebalanceStatus:
        return KafkaRebalanceStatus.model_validate(obj.get("status") or {})

    def request(self, obj: Object) -> Request:
        rebalance = KafkaRebalance.model_validate(obj)
        return Request(
            approval_required=rebalance.spec.approval is ApprovalPolicy.REQUIRED,
            requested_by=rebalance.metadata.annotations.get(names.REQUESTED_BY, ""),
        )

    async def plan(self, obj: Object) -> Plan | tuple[Check, ...]:
        rebalance, cell = KafkaRebalance.model_validate(obj), self.cell(obj)
        if problems := check_rebalance(rebalance):
            return (Check("InvalidSpec", ok=False, evidence=explain_problems(problems)),)
        try:
            cluster = await self._cells.cluster(cell)
            world = await self._cells.observe(cluster)
        except CellGoneError:
            return (cluster_not_found(cell),)
        kafka = world.observation.kafka
        unwell = gate.gates(world.observation, None, emptied=_emptied(rebalance.spec.goal, world))
        if why := (*_not_alone(rebalance, cluster), *unwell, *_leaving(rebalance.spec.goal, world)):
            return why
        if kafka is None:  # a gate has said so
            raise AssertionError("a cluster that is well has no observation of Kafka")
        return await self._proposed(rebalance, cell, world, kafka)

    async def _proposed(
        self, rebalance: KafkaRebalance, cell: str, world: World, kafka: KafkaObservation
    ) -> Plan | tuple[Check, ...]:
        bounds = await self._cells.bounds(cell)
        if (beyond := bounds.beyond(rebalance.spec.goal)) is not None:
            return (beyond,)
        admin = await self._cells.admin(cell)
        earlier, began = await admin.partition_sizes(), self._clock.monotonic()
        brokers = brokers_of(kafka, world.observation.nodes)
        assignment = assignment_of(kafka, earlier, brokers, bounds)
        try:
            goal = goal_of(rebalance.spec.goal, leaving=frozenset(_layout(world).leaving))
            proposal = await self._planner.propose(assignment, brokers, goal)
        except PlanningError as error:
            return (Check("PlanningFailed", ok=False, evidence=f"{error}.", remedy="It is tried again."),)
        if isinstance(proposal, goals.Infeasible):
            return (
                Check(
                    INFEASIBLE,
                    ok=False,
                    evidence=f"spec.goal: {proposal}."[:1024],
                    remedy="Ask for another goal in another KafkaRebalance, or change what stands in the way.",
                ),
            )
        rate = api.throttle_bytes(rebalance.spec.limits)
        if rate is None:
            rate = await self._spare(admin, kafka, earlier, began)
        racks = {broker.id: broker.rack for broker in brokers}
        holds = room.held((one.replicas, one.size) for one in assignment.partitions)
        left = room.free(holds, {one.id: one.capacity for one in brokers if one.capacity is not None})
        return await self._plan_of(rebalance, cell, proposal, racks=racks, left=left, rate=rate, admin=admin)

    async def _spare(
        self, admin: KafkaAdmin, kafka: KafkaObservation, earlier: dict[TopicPartition, int], began: float
    ) -> int:
        """Half of what the busiest broker has left, from how much was written to it for a moment."""
        await asyncio.sleep(self._settings.growth_seconds)
        later, seconds = await admin.partition_sizes(), self._clock.monotonic() - began
        replicas = [(one.id, one.replicas) for one in kafka.partitions]
        grown = throttle.growth(earlier, later, replicas, max(seconds, self._settings.growth_seconds))
        return throttle.spare(self._settings.broker_bandwidth, grown, floor=throttle.FLOOR)

    async def _plan_of(
        self,
        rebalance: KafkaRebalance,
        cell: str,
        proposal: Proposal,
        *,
        racks: dict[int, str | None],
        left: dict[int, int],
        rate: int,
        admin: KafkaAdmin,
    ) -> Plan | tuple[Check, ...]:
        spec = rebalance.spec
        topics, of_brokers = await admin.settings(sorted({move.topic for move in proposal.moves}))
        rate = throttle.told_apart(rate, of_brokers)

        def kept(hops: Sequence[Hop]) -> frozenset[str]:
            return throttle.kept(hops, rate, topics, of_brokers)

        summary, per_broker = summary_of(proposal, rate), spec.limits.moves_per_broker

        def laid_out() -> RebalancePlan:
            of_batches = batches(proposal, racks, per_broker=per_broker, room=left)
            return RebalancePlan(
                kind=KIND,
                mode="Frozen",
                goal=words_of(spec.goal, summary),
                steps=plan_steps.steps(cell, of_batches, rate, kept, per_broker=per_broker),
                constraints={
                    "cluster": cell,
                    "goal": spec.goal.to_object(),
                    "movesPerBroker": per_broker,
                    "throttleBytes": rate,
                },
                gates=gate.GATES,
                summary=summary,
            )

        try:
            return await asyncio.to_thread(laid_out)
        except NoRoomError as error:
            return (error.check,)
        except plan_steps.TooLargeError as error:
            return (
                Check(
                    "PlanUnfit",
                    ok=False,
                    evidence=f"A step of the plan does not fit into an operation: {error}.",
                    remedy="Take throttles off that somebody else has set on its topics, or ask for less at once.",
                ),
            )

    async def gates(self, obj: Object, operation: Operation) -> tuple[Check, ...]:  # noqa: ARG002 - the protocol's
        cell = self.cell(obj)
        try:
            cluster = await self._cells.cluster(cell)
        except CellGoneError:
            return (cluster_not_found(cell),)
        world = await self._cells.observe(cluster)
        emptied = _emptied(KafkaRebalance.model_validate(obj | {"status": {}}).spec.goal, world)
        return gate.gates(world.observation, cluster.status.operation, cluster.status.load_shedding, emptied=emptied)

    def described(
        self, obj: Object, status: OperationStatus, plan: Plan | None, steps: FrozenSteps | None, now: float
    ) -> OperationStatus:
        if not isinstance(status, KafkaRebalanceStatus):
            raise TypeError(f"not the status of a {api.KIND}: {type(status).__name__}")
        rebalance = KafkaRebalance.model_validate(obj | {"status": {}})
        operation = status.operation or status.last_operation
        pace = self._pace(operation.plan_hash, steps) if operation is not None and steps is not None else None
        return described(
            status,
            rebalance.spec.approval,
            plan,
            pace,
            generation=rebalance.metadata.generation,
            now=now,
        )

    def _pace(self, plan_hash: str, steps: FrozenSteps) -> Pace:
        """Read from the steps once: a plan may have thousands."""
        if (known := self._paces.get(plan_hash)) is not None:
            return known
        copies = {number: copied for number, step in steps.steps.items() if (copied := plan_steps.copies(step))}
        pace = Pace(steps.count, copies)
        if steps.lost is None:
            self._paces[plan_hash] = pace
            if len(self._paces) > _REMEMBERED_PACES:
                self._paces.popitem(last=False)
        return pace


def goal_of(goal: api.RebalanceGoal, *, leaving: frozenset[int] = frozenset()) -> goals.Goal:
    """`leaving`: nodes that are to leave the cluster."""
    brokers, topics = frozenset(goal.brokers), frozenset(goal.topics)
    match goal.type:
        case api.GoalType.BALANCE:
            return goals.Balance()
        case api.GoalType.BALANCE_BYTES:
            percent = goal.tolerance_percent
            return goals.BalanceBytes() if percent is None else goals.BalanceBytes(percent / 100)
        case api.GoalType.LEADERS:
            return goals.Leaders()
        case api.GoalType.DRAIN:
            return goals.Drain(brokers)
        case api.GoalType.RACKS:
            return goals.Racks()
        case api.GoalType.MOVE_TO:
            return goals.MoveTo(brokers, topics)
        case api.GoalType.CHANGE_REPLICAS:
            return goals.ChangeReplicas(goal.replicas or 0, topics or None, leaving)
        case api.GoalType.MOVE_AWAY:
            return goals.MoveAway(brokers)


def assignment_of(
    kafka: KafkaObservation, sizes: Mapping[TopicPartition, int], brokers: Sequence[goals.Broker], bounds: Bounds
) -> goals.Assignment:
    """`brokers`: those that there are; a shard may have others, which are down.

    A partition with more replicas than its shard has brokers (a client made it) may stay where it is: one tenant's
    topic is no reason why nothing is planned for the others.
    """
    there = frozenset(broker.id for broker in brokers)
    shards = {topic: bounds.allowed(topic) for topic in {one.topic for one in kafka.partitions}}

    def allowed(one: PartitionObservation) -> frozenset[int] | None:
        shard = shards[one.topic]
        if shard is None:
            return None
        return (shard if len(shard & there) >= len(one.replicas) else shard | set(one.replicas)) & there

    return goals.Assignment.of(
        goals.Partition(one.topic, one.partition, one.replicas, sizes.get(one.id, 0), one.min_isr, allowed(one))
        for one in kafka.partitions
    )


def brokers_of(kafka: KafkaObservation, nodes: Sequence[NodeObservation]) -> tuple[goals.Broker, ...]:
    """Those that are up; a broker's capacity is that of its volumes, where all of them are known.

    Racks count only if every broker has one: otherwise nothing can be said about spreading.
    """
    racked, sizes = all(broker.rack for broker in kafka.brokers), capacities(nodes)
    return tuple(
        goals.Broker(broker.id, broker.rack if racked else None, capacity=sizes.get(broker.id))
        for broker in kafka.brokers
    )


def words_of(goal: api.RebalanceGoal, summary: api.ProposalSummary) -> str:
    """One line for people: what is asked for and what it costs."""
    words = goal.type.value
    if goal.brokers:
        words += f" brokers {listing(sorted(goal.brokers))}"
    if goal.topics:
        words += f" topics {listing(sorted(goal.topics))}"
    if goal.replicas is not None:
        words += f" to {goal.replicas} replicas"
    if not summary.partitions:
        return f"{words}: nothing has to move"
    moved, size = summary.replicas_moved, plan_steps.human(summary.bytes_moved)
    return f"{words}: copies {moved} replica{'' if moved == 1 else 's'}, {size} ({how_good(summary)})"


def _not_alone(rebalance: KafkaRebalance, cluster: KafkaCluster) -> tuple[Check, ...]:
    """A cluster that requires approvals requires them of whatever moves its data."""
    required = cluster.spec.rollout.approval is ApprovalPolicy.REQUIRED
    if not required or rebalance.spec.approval is ApprovalPolicy.REQUIRED:
        return ()
    return (
        Check(
            "ApprovalNeeded",
            ok=False,
            evidence="spec.approval: is NotRequired, and KafkaCluster "
            f"{cluster.metadata.name} requires approvals (spec.rollout.approval).",
            remedy="Create another KafkaRebalance with spec.approval: Required.",
        ),
    )


def _layout(world: World) -> Layout:
    return lay_out(world.cluster, world.observation.nodes, world.zones, formed=True)


def _emptied(goal: api.RebalanceGoal, world: World) -> frozenset[int]:
    """Nodes that nothing of what is moved may be on afterwards."""
    if goal.type not in {api.GoalType.DRAIN, api.GoalType.CHANGE_REPLICAS}:
        return frozenset()
    named = goal.brokers if goal.type is api.GoalType.DRAIN else ()
    return frozenset((*named, *_layout(world).leaving))


def _may_help(goal: api.RebalanceGoal, world: World) -> bool:
    """Brokers that are to leave cannot, and fewer replicas are what they may wait for: that must not wait for them."""
    blocked = c.find_condition(world.cluster.status.conditions, c.BLOCKED)
    return goal.type is api.GoalType.CHANGE_REPLICAS and blocked is not None and blocked.reason == emptying.IMPOSSIBLE


def _leaving(goal: api.RebalanceGoal, world: World) -> tuple[Check, ...]:
    """Nothing but a drain is planned with brokers that are to go, or what may have to come before it: any other goal
    would give them replicas."""
    gone = _layout(world).leaving
    brokers = known(world.observation.kafka, gone) if world.observation.kafka is not None else ()
    empties = goal.type is api.GoalType.DRAIN and set(brokers) <= set(goal.brokers)
    if not brokers or empties or _may_help(goal, world):
        return ()
    return (
        Check(
            "BrokersLeaving",
            ok=False,
            evidence=f"Nodes {listing(brokers)} are to leave the cluster, and this goal would not empty them.",
            remedy=f"First a KafkaRebalance with goal Drain and brokers {listing(brokers)}.",
        ),
    )
