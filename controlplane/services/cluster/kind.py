"""KafkaCluster as a Kind of the engine: its world, its decision, its actions, its Events."""

from __future__ import annotations

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_cluster import KafkaCluster, KafkaClusterStatus, RolledBack
from controlplane.api.operation import Operation, OperationStatus, OperationStep
from controlplane.api.rollout import ApprovalPolicy
from controlplane.domain.access.enrolment import is_fresh
from controlplane.domain.check import Check
from controlplane.domain.cluster import away, setup
from controlplane.domain.cluster.access import AccessStep
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic
from controlplane.domain.cluster.decide import Decision as Found
from controlplane.domain.cluster.decide import decide
from controlplane.domain.cluster.guards import guards
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.members import is_change
from controlplane.domain.cluster.moves import RequestMove
from controlplane.domain.cluster.status import cluster_status
from controlplane.domain.cluster.world import World
from controlplane.domain.membership import values as membership
from controlplane.domain.membership.brokers import BROKER_NOT_EMPTY
from controlplane.domain.operation.permit import Permit
from controlplane.domain.operation.progress import wordless
from controlplane.domain.rolling import values as rolling
from controlplane.domain.rolling.health import BRIEF, listing
from controlplane.domain.rolling.safety import UNPROTECTED_PARTITIONS
from controlplane.domain.rolling.witness import Learning
from controlplane.ports import (
    AlreadyExistsError,
    ClientWitness,
    Clock,
    InvalidError,
    KafkaAdmin,
    KafkaAdmins,
    KafkaError,
    KubeApi,
    KubeError,
    Object,
    Resource,
)
from controlplane.services.access.execute import carry_out
from controlplane.services.access.observe import Certificates
from controlplane.services.access.way import Way
from controlplane.services.cluster import execute
from controlplane.services.cluster.clients import watched
from controlplane.services.cluster.members import change_members
from controlplane.services.cluster.moves import request_move
from controlplane.services.cluster.observe import observe_world
from controlplane.services.events import EventRecorder
from controlplane.services.operation.kind import Decision, Request
from controlplane.services.rebalance.asked import operator_user
from controlplane.settings import OperatorSettings

KAFKA_CLUSTERS = Resource(GROUP, VERSION, "kafkaclusters", "KafkaCluster")
Action = setup.SetupStep | rolling.Action | membership.Action


class ClusterKind:
    """Implements Kind[World, Action]. Nothing is remembered between passes."""

    resource = KAFKA_CLUSTERS

    def __init__(
        self,
        kube: KubeApi,
        admins: KafkaAdmins,
        clock: Clock,
        events: EventRecorder,
        settings: OperatorSettings,
        *,
        witness: ClientWitness | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        """Without a `witness` nothing is known of what clients feel, and there is no canary; without `certificates`
        none is made, and only clusters in plaintext are."""
        self._certificates = certificates
        self._kube, self._admins, self._clock, self._events, self._settings = kube, admins, clock, events, settings
        self._placement, self._witness = placement(settings), witness
        self._learning = Learning(settings.learn_seconds, settings.learn_longest)

    def cell(self, obj: Object) -> str:
        return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"

    def status_of(self, obj: Object) -> KafkaClusterStatus:
        return KafkaClusterStatus.model_validate(obj.get("status") or {})

    async def observe(self, obj: Object) -> World:
        cluster = KafkaCluster.model_validate(obj)
        world = await observe_world(self._kube, self._admins, self._clock, cluster, certificates=self._certificates)
        if self._witness is None:
            return world
        return await watched(world, self._witness, self._admin(world), self._learning)

    def request(self, world: World) -> Request:
        cluster = world.cluster
        return Request(
            approval_required=cluster.spec.rollout.approval is ApprovalPolicy.REQUIRED,
            requested_by=cluster.metadata.annotations.get(names.REQUESTED_BY, ""),
            waivable=guards(world),
        )

    def decide(self, world: World, permit: Permit, now: float) -> Decision[Action]:
        found = decide(world, self._placement, permit, now)
        status = cluster_status(world, found.layout, found.verdict, addressing=self._settings.addressing, now=now)
        return Decision(
            status=status,
            preparations=found.setup,
            action=found.change if found.change is not None else found.roll,
            begun=found.begun,
            settled=found.settled and not (world.unenrolled is not None and is_fresh(status.conditions, now)),
            brief=isinstance(found.roll, rolling.AwaitNode) and all(check.name in BRIEF for check in found.roll.checks),
            yields=_yields(found),
        )

    async def act(self, action: Action, world: World) -> bool:
        if isinstance(action, AccessStep):
            if self._certificates is None:
                return False
            await carry_out(self._kube, self._certificates, self._admins, action, world)
            return True
        if isinstance(action, RequestMove):
            user = operator_user(self._settings)
            await request_move(self._kube, world.cluster, action, user=user)
            return True
        if isinstance(action, setup.SetupStep):
            await execute.set_up(self._kube, action, self._admin(world), world.cluster.metadata.namespace)
            return True
        if isinstance(action, membership.MEMBER_ACTIONS):
            return await change_members(self._kube, action, self._admin(world), world)
        return await execute.roll(self._kube, action, self._admin(world), world)

    def explain(self, action: Action, error: KubeError | KafkaError) -> Check:
        if isinstance(action, setup.AlterClusterConfig):
            return Check("ConfigRejected", ok=False, evidence=f"spec.config: Kafka refused it: {error.message}")
        if isinstance(action, CreateCanaryTopic | DeleteCanaryTopic):
            told = f"{type(action).__name__}: {error.message}"
            return Check("CanaryRefused", ok=False, evidence=told, remedy="An upgrade goes on without it.")
        if isinstance(action, RequestMove):
            told = f"KafkaRebalance {action.name}, which is to move {action.purpose.what} off broker "
            told += f"{listing(action.brokers)}, could not be created: {error.message}"
            return Check(action.purpose.refused, ok=False, evidence=told, remedy="It is tried again.")
        if isinstance(action, setup.ApplyService) and isinstance(error, InvalidError):
            service, words = action.manifest["metadata"]["name"], error.message.rstrip(".")
            told = f"{action.field}: Kubernetes refuses Service {service}: {words}."
            remedy = "Correct the field, or take a node port out and Kubernetes chooses one. It is tried again."
            return Check("ServiceRefused", ok=False, evidence=told, remedy=remedy)
        name = "NameTaken" if isinstance(error, AlreadyExistsError) else "StepFailed"
        return Check(name, ok=False, evidence=f"{type(action).__name__}: {error.message}", remedy="It is tried again.")

    def without_words(self, status: OperationStatus) -> OperationStatus:
        """Without messages, and without what moves at every look, such as how far a replica has come."""
        bare = status.model_copy(
            update={
                "conditions": tuple(condition.model_copy(update={"message": ""}) for condition in status.conditions),
                "operation": wordless(status.operation),
            }
        )
        if isinstance(bare, KafkaClusterStatus):
            nodes = tuple(node.model_copy(update={"message": None}) for node in bare.nodes)
            return bare.model_copy(update={"nodes": nodes})
        return bare

    async def forget(self, namespace: str, name: str) -> None:
        await self._admins.forget(f"{namespace}/{name}")
        if self._witness is not None:
            await self._witness.forget(f"{namespace}/{name}")

    def _admin(self, world: World) -> KafkaAdmin | None:
        if world.observation.kafka is None:
            return None
        meta, access = world.cluster.metadata, world.access
        way = Way(world.cluster, access.client, access.by_name) if access else Way(world.cluster, None, by_name=False)
        return self._admins.get(f"{meta.namespace}/{meta.name}", way.bootstrap(world.observation.nodes), way.tls)

    async def tell(self, obj: Object, before: OperationStatus, after: OperationStatus) -> None:
        """Events for what changed between two statuses: an operation begun, moved on or ended, a block found."""
        old, new = before.operation, after.operation
        if new is not None and (old is None or old.id != new.id):
            reason = "MembersChanging" if is_change(new) else "RollStarted"
            await self._events.record(obj, "Normal", reason, new.goal, new.id)
        step = new.step if new is not None else None
        if (
            new is not None
            and step is not None
            and step.verb == rolling.Step.STOPPING
            and (old is None or old.step is None or old.step.id != step.id)
        ):
            await self._events.record(obj, "Normal", "NodeRestarting", f"node {step.target}", new.id)
        if is_change(new) and new is not None and step is not None and step.verb in _TOLD and _entered(old, step):
            await self._events.record(obj, "Normal", "MemberChanging", new.message, new.id)
        ended = after.last_operation
        if ended is not None and (before.last_operation is None or before.last_operation.id != ended.id):
            reason = "UpgradeRolledBack" if ended.outcome == "RolledBack" else f"Roll{ended.outcome}"
            if is_change(ended):
                reason = f"MemberChange{ended.outcome}"
            await self._events.record(obj, "Normal", reason, f"{ended.goal}: {ended.message}", ended.id)
        was_kept, kept = _rolled_back(before), _rolled_back(after)
        if kept is not None and (was_kept is None or was_kept.at != kept.at):
            message = f"back to Kafka {kept.version}: {kept.evidence}"
            await self._events.record(obj, "Warning", "RollingBack", message, new.id if new else "")
        for condition in after.conditions:
            was = c.find_condition(before.conditions, condition.type)
            if (condition.type, condition.status) in _TOLD_CONDITIONS and (
                was is None or was.status != condition.status or was.reason != condition.reason
            ):
                operation = new.id if new else ""
                await self._events.record(obj, "Warning", condition.reason, condition.message, operation)


_YIELDS_TO = frozenset({BROKER_NOT_EMPTY, UNPROTECTED_PARTITIONS, "ExternalAddressPending", *away.AWAY.waits})


def _yields(found: Found) -> bool:
    """Replicas have to move, or to become more, before it can go on, another operation's to do, under the cell; or
    clients outside would not be told an address that may never come."""
    action = found.change if found.change is not None else found.roll
    if isinstance(action, membership.DrainBrokers):
        return True
    checks = action.checks if isinstance(action, membership.Refused | rolling.Blocked) else ()
    return any(check.name in _YIELDS_TO for check in checks)


_TOLD_CONDITIONS = frozenset({(c.BLOCKED, "True"), (c.CERTIFICATES, "False")})
_TOLD = frozenset(
    action.__name__
    for action in (
        membership.AddVoter,
        membership.RemoveVoter,
        membership.StopMember,
        membership.RetireNode,
        membership.RenewVolume,
    )
)


def _entered(old: Operation | None, step: OperationStep) -> bool:
    return old is None or old.step is None or old.step.id != step.id


def _rolled_back(status: OperationStatus) -> RolledBack | None:
    return status.rolled_back if isinstance(status, KafkaClusterStatus) else None


def placement(settings: OperatorSettings) -> Placement:
    return Placement(
        image_prefix=settings.image_prefix,
        addressing=settings.addressing,
        stop_grace_seconds=settings.stop_grace,
        probe_period_seconds=settings.probe_period,
    )
