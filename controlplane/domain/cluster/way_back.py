"""The way back of an upgrade: when it is taken, and how the cluster is kept on the version before. Pure.

What was rolled back stands in `status.rolledBack` and is written before anything of the way back is done. While that
record stands, the cluster is followed as if its spec named the version before; of all other fields it is followed as
declared. So the way back is a roll like any other, under the same safety rules, and an operator that is killed or begun
anew goes on with it. The record stands while the spec asks for the same plan, or is the same (a plan can change without
anybody asking, with the operator's settings), and its retryToken is the same. Nothing is lost with the status: then the
upgrade is tried again, and what ran before is read from the pods.

Features are never raised while it stands, and it is only made where the versions table says that the version before
reads what is finalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from controlplane.api.conditions import timestamp
from controlplane.api.duration import parse_seconds
from controlplane.api.kafka_cluster import KafkaCluster, RolledBack
from controlplane.api.rollout import OnFault
from controlplane.domain import versions
from controlplane.domain.check import Check
from controlplane.domain.cluster.world import World
from controlplane.domain.rolling import faults
from controlplane.domain.rolling.values import RollProgress, RollTarget
from controlplane.domain.rolling.watch import UpgradeWatch
from controlplane.domain.rolling.witness import Learning

LEARNING_SINCE = "learningSince"
"""Parameter of a roll's step, in whole seconds since the epoch: since when nothing but the level before is missing, or
the roll's own gates. It is absent while people, windows or hazards hold the roll, and from the first stop on."""
_EVIDENCE = 1024
_UNFINISHED = frozenset({"Cancelled", "Superseded", "Denied"})


def standing(world: World, declared_hash: Callable[[], str]) -> RolledBack | None:
    """The record that is followed, as it is to be written now; None where the spec is followed as declared."""
    record, cluster = world.cluster.status.rolled_back, world.cluster
    if record is None or record.retry_token != cluster.spec.rollout.retry_token:
        return None
    try:
        declared = declared_hash()
    except (versions.UnknownVersionError, versions.UnknownMetadataVersionError):
        return None
    generation = cluster.metadata.generation
    if declared != record.plan_hash and record.observed_generation != generation:
        return None
    operation = cluster.status.operation
    named = record.plan_hash if operation is not None and operation.direction == "Back" else declared
    return record.model_copy(update={"plan_hash": named, "observed_generation": generation})


def as_recorded(world: World) -> World:
    """As it is followed under a record that is about this very generation, without asking what its plan is."""
    record, cluster = world.cluster.status.rolled_back, world.cluster
    if record is None or (record.observed_generation, record.retry_token) != (
        cluster.metadata.generation,
        cluster.spec.rollout.retry_token,
    ):
        return world
    return on(world, record)


def on(world: World, record: RolledBack) -> World:
    """The world as it is followed while the record stands. A pin that the version before cannot read is left out."""
    spec = world.cluster.spec
    readable = versions.check_known(record.version).ok and versions.check_pin(record.version, spec.metadata_version).ok
    pin = spec.metadata_version if readable else None
    before = spec.model_copy(update={"version": record.version, "metadata_version": pin})
    return replace(world, cluster=world.cluster.model_copy(update={"spec": before}))


def under_way(world: World, record: RolledBack) -> bool:
    """Whether nodes are still on their way back, or its operation has not ended."""
    operation = world.cluster.status.operation
    return (operation is not None and operation.direction == "Back") or any(
        node.pod is not None and node.pod.version != record.version for node in world.observation.nodes
    )


def watch_of(world: World, target: RollTarget, progress: RollProgress) -> UpgradeWatch | None:
    """What is watched: a change of version, up to its finalisation. Made anew until the first node is stopped for it;
    one that was ended half-way and goes on is compared with what it was compared with."""
    to = world.cluster.spec.version
    if progress.watch is not None and progress.watch.to == to:
        return progress.watch
    running = {node.pod.version for node in world.observation.nodes if node.pod}
    if not running or (running == {to} and not target.finalise):
        return None
    last = world.cluster.status.last_operation
    if last is not None and last.outcome in _UNFINISHED and last.step is not None:
        unfinished = UpgradeWatch.load(last.step.parameters)
        if unfinished is not None and unfinished.to == to:
            return replace(unfinished, sightings={})
    return faults.begin(world.observation, _before(world, running, to), to, (world.learning or Learning()).seconds)


def _before(world: World, running: set[str], to: str) -> str:
    """The version that ran on every node; with nodes of several versions only the status knows it. A way back that is
    given up, for a new retryToken or another spec, led to it."""
    if len(running) == 1 and to not in running:
        return next(iter(running))
    record, noted = world.cluster.status.rolled_back, world.cluster.status.version or ""
    if record is not None and record.version != to:
        return record.version
    return noted if noted != to else ""


def look(world: World, watch: UpgradeWatch, progress: RollProgress) -> faults.Findings:
    after = parse_seconds(world.cluster.spec.rollout.fault_after)
    return faults.look(world.observation, watch, progress.replicas_out_before, after)


def why_not(world: World, findings: faults.Findings, *, held: bool) -> str:
    """Why faults that have lasted are not answered with the way back; "" when they are."""
    watch = findings.watch
    if world.cluster.spec.rollout.on_fault is OnFault.HOLD:
        return "spec.rollout.onFault is Hold"
    if not findings.confined:
        return f"it is not confined to nodes that run Kafka {watch.to}"
    if not watch.before:
        return "it is not known which version ran on every node before"
    finalised = _finalised(world)
    if finalised is None:
        return "the finalised metadata.version is not known, so neither is whether there is a way back"
    way = versions.can_roll_binary(watch.to, watch.before, finalised)
    if way.ok and world.observation.kafka is not None:
        way = versions.can_read_features(watch.before, world.observation.kafka.features)
    if not way.ok:
        return f"there is no way back ({way.evidence.removeprefix('spec.version: ').rstrip('.')})"
    return "the roll is paused, cancelled or not approved, or the cell is taken" if held else ""


def record_of(cluster: KafkaCluster, findings: faults.Findings, plan_hash: str, now: float) -> RolledBack:
    return RolledBack(
        version=findings.watch.before,
        plan_hash=plan_hash,
        reason=findings.faults[0].name,
        evidence=faults.evidence(findings)[:_EVIDENCE],
        at=timestamp(now),
        retry_token=cluster.spec.rollout.retry_token,
        observed_generation=cluster.metadata.generation,
    )


def with_findings(target: RollTarget, findings: faults.Findings, why: str) -> RollTarget:
    """The target with what the upgrade shows: faults hold it, symptoms keep the soak from counting."""
    held = (faults.held_check(findings, why),) if findings.faults else ()
    return replace(target, faults=held, symptoms=(*findings.faults, *findings.symptoms))


def learning_since(world: World, watch: UpgradeWatch, progress: RollProgress) -> int | None:
    """What `LEARNING_SINCE` has to say unless the roll is held, None for nothing. Never later than now: a clock set
    back makes no wait longer than it is."""
    if world.learning is None or progress.replicas_out_before or faults.begun(world.observation, watch):
        return None
    now, operation = math.ceil(world.observation.as_of), world.cluster.status.operation
    noted = operation.step.parameters.get(LEARNING_SINCE, "") if operation is not None and operation.step else ""
    return min(int(noted), now) if noted.isdecimal() else now


def learning(world: World, watch: UpgradeWatch, since: int | None) -> tuple[Check, ...]:
    """There is no level yet: the first stop waits for one, though not without end. How long it has waited is in the
    status, so that neither a witness that fails nor an operator that is begun anew makes it longer."""
    how = world.learning
    if how is None or since is None or watch.level is not None or world.observation.as_of >= since + how.longest:
        return ()
    return (
        Check(
            "LearningClientLevel",
            ok=False,
            evidence=f"What clients feel is measured for {how.seconds:.0f} s before the first node is stopped, to be "
            "compared with during the upgrade.",
            remedy=f"It begins by itself, after {how.longest:.0f} s at the latest.",
        ),
    )


def _finalised(world: World) -> int | None:
    """The level of metadata.version: what brokers say, else what they said last. Only ever raised by us once the watch
    is over."""
    kafka = world.observation.kafka
    if kafka is not None:
        return kafka.features.get(versions.METADATA_VERSION)
    try:
        return versions.metadata_level(world.cluster.status.metadata_version or "")
    except versions.UnknownMetadataVersionError:
        return None
