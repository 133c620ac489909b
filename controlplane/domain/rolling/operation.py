"""A roll's progress as `status.operation`, and back.

`from_operation(to_operation(p)) == p` for what a roll needs to go on after a kill: intent, replicas out before, the
start of the soak, the batches that are left, and what an upgrade is compared with. The journal is for people.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime

from controlplane.api.conditions import timestamp
from controlplane.api.operation import Operation, OperationIntent, OperationStep, Outcome, ReplicasOut, StepCheck
from controlplane.domain.observation import TopicPartition
from controlplane.domain.operation.plan import Plan, operation_id
from controlplane.domain.operation.progress import entry_of, finished, journalled, undelivered
from controlplane.domain.rolling.values import (
    Action,
    AwaitNode,
    Blocked,
    Intent,
    RollProgress,
    RollTarget,
    Step,
    StopNode,
    Transition,
)
from controlplane.domain.rolling.watch import UpgradeWatch

KIND = "Roll"
GATES = ("Health", "MinIsr", "Quorum", "ReassignmentInFlight", "UnprotectedPartitions")
"""What a roll asks before every stop, by subject: part of what is approved, so that fewer gates are another plan."""

BATCHES, BATCH_LIMIT = "batches", "maxUnavailable"
"""Parameters of every step of a roll in batches."""
PARAMETER_LIMIT = 1024

_NO_ACTION = frozenset({Step.PENDING.value, Step.BLOCKED.value})
"""Steps in which nothing is done: they count, and the journal leaves them out."""

_DISRUPTIVE = frozenset({Step.STOPPING.value, Step.FINALISING.value})


def plan_of(target: RollTarget) -> Plan:
    """The roll as a plan: where it leads and under which constraints (mode Replanned: the batches are not in it).

    Its hash stays the same while the same roll goes on: what is left to finalise is not in it.
    """
    return Plan(
        kind=KIND,
        mode="Replanned",
        goal=target.goal,
        constraints={
            "nodes": {str(node.node): node.spec_hash for node in target.nodes},
            "unprotected": target.unprotected,
            **({"maxUnavailable": target.max_unavailable} if target.max_unavailable > 1 else {}),
            **target.constraints,
        },
        gates=GATES,
    )


def new_progress(
    target: RollTarget,
    *,
    object_uid: str,
    generation: int,
    last: Operation | None = None,
    cancelled: str = "",
    instead_of: str = "",
) -> RollProgress:
    """A roll that has not begun. Its id is derived, so that a pass that is repeated names the same operation.

    `last` is the roll that ended before it and `cancelled` the id that somebody has cancelled: a roll with the same
    plan stays that cancelled one, whatever else changes in the spec; once it is resumed it is an operation of its own.
    `instead_of` is the hash of the plan that is being rolled back: it names the way back as well.
    """
    plan_hash, salt = instead_of or plan_of(target).hash, object_uid
    if last is not None and last.plan_hash == plan_hash:
        if last.id == cancelled:
            return RollProgress(id=last.id, goal=target.goal)
        salt = f"{object_uid}/{last.id}"
    return RollProgress(id=operation_id(KIND, salt, generation, plan_hash), goal=target.goal)


def to_operation(
    transition: Transition,
    target: RollTarget,
    before: Operation | None,
    *,
    message: str,
    now: float,
    approval: str = "",
    requested_by: str = "",
    instead_of: str = "",
) -> Operation:
    """The operation to write. Step ids count on while verb or target change; the journal keeps what was left behind.

    With `instead_of`, the hash of the plan that is rolled back, it is that plan's operation on its way back: one that
    was approved needs no second approval to be undone.

    `requested_by` counts when the operation is first written and stays then: whoever touches the spec later without
    changing the plan does not take it over.
    """
    progress = transition.progress
    verb = (progress.intent.action if progress.intent else progress.step).value
    node = str(progress.intent.node) if progress.intent else ""
    same = before if before is not None and before.id == progress.id else None
    old = same.step if same is not None else None
    journal = same.journal if same is not None else ()
    number = old.id if old is not None else 0
    if old is None or old.verb != verb or (old.target != node and node):
        number += 1
        if old is not None and old.verb not in _NO_ACTION:
            stopped = old.verb != Step.STOPPING or transition.undone is None or old.target != str(transition.undone)
            journal = journalled(journal, entry_of(old, 1, "Done" if stopped else "NotDone", now=now))
    kept = same.intent if same is not None and same.step is not None and same.step.id == number else None
    intent = None
    if progress.intent is not None:
        intent = OperationIntent(uid=progress.intent.pod_uid or "", at=kept.at if kept else timestamp(now))
    return Operation(
        id=progress.id,
        kind=KIND,
        plan_hash=instead_of or plan_of(target).hash,
        direction="Back" if instead_of else "Forward",
        goal=progress.goal,
        started_at=same.started_at if same is not None else timestamp(now),
        step=OperationStep(
            id=number,
            verb=verb,
            target=node or (old.target if old is not None and old.id == number else ""),
            why=why(transition.action),
            risk="Disruptive" if verb in _DISRUPTIVE else "Safe",
            parameters=_batch_parameters(progress) | (progress.watch.dump() if progress.watch else {}),
            checks=step_checks(transition.action),
        ),
        requested_by=(same.requested_by if same is not None else requested_by)[:253],
        approval=approval,
        intent=intent,
        replicas_out_before=_replicas_out(progress),
        soak_since=_whole_seconds(progress.all_back_since),
        message=message[:4096],
        journal=journal,
        recorded=same.recorded if same is not None else "No",
    )


def ended(operation: Operation, outcome: Outcome, *, message: str, now: float) -> Operation:
    """The roll as `lastOperation`; the step that it was in closes its journal."""
    step = operation.step
    journal = operation.journal
    if step is not None and step.verb not in _NO_ACTION:
        result = "Done" if outcome in {"Succeeded", "RolledBack"} else outcome
        journal = journalled(journal, entry_of(step, 1, result, now=now, message=message))
    bare = operation.model_copy(update={"journal": journal, "replicas_out_before": ()})
    return finished(bare, outcome, message=message, now=now)


def why(action: Action) -> str:
    """Why this step is the next one, when that is more than the verb says."""
    if isinstance(action, StopNode):
        return ", ".join(action.reasons)
    return ""


def step_checks(action: Action) -> tuple[StepCheck, ...]:
    """What the step waits for."""
    checks = action.checks if isinstance(action, Blocked | AwaitNode) else ()
    return tuple(
        StepCheck(name=check.name, evidence=check.evidence[:1024], remedy=check.remedy[:512]) for check in checks[:16]
    )


def from_operation(operation: Operation) -> RollProgress:
    """Raises ValueError when the status does not hold a roll of ours (someone else wrote it)."""
    if operation.kind != KIND or operation.step is None:
        raise ValueError(f"status.operation {operation.id!r} is not a roll")
    verb = Step(operation.step.verb)
    out: dict[int, set[TopicPartition]] = defaultdict(set)
    for entry in operation.replicas_out_before:
        out[entry.node] |= {TopicPartition(entry.topic, partition) for partition in entry.partitions}
    return RollProgress(
        id=operation.id,
        goal=operation.goal,
        step=verb,
        intent=Intent(verb, int(operation.step.target), operation.intent.uid or None) if operation.intent else None,
        replicas_out_before={node: frozenset(partitions) for node, partitions in out.items()},
        all_back_since=datetime.fromisoformat(operation.soak_since).timestamp() if operation.soak_since else None,
        batches=_batches(operation.step.parameters.get(BATCHES, "")),
        batch_limit=int(operation.step.parameters.get(BATCH_LIMIT, "1")),
        watch=UpgradeWatch.load(operation.step.parameters),
        unrecorded=len(undelivered(operation)),
    )


def _batch_parameters(progress: RollProgress) -> dict[str, str]:
    """Batches as "0,3,6;1,4": the one under way first. What does not fit is planned again when its turn comes."""
    if not progress.batches:
        return {}
    text = ";".join(",".join(str(node) for node in batch) for batch in progress.batches)
    if len(text) > PARAMETER_LIMIT:
        text = text[: max(text.rfind(mark, 0, PARAMETER_LIMIT + 1) for mark in ",;")]
    return {BATCHES: text, BATCH_LIMIT: str(progress.batch_limit)}


def _batches(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(node) for node in batch.split(",")) for batch in text.split(";") if batch)


def _whole_seconds(seconds: float | None) -> str | None:
    """Rounded up to whole seconds: what is written must never make a soak shorter."""
    return timestamp(math.ceil(seconds)) if seconds is not None else None


def _replicas_out(progress: RollProgress) -> tuple[ReplicasOut, ...]:
    entries = []
    for node, partitions in sorted(progress.replicas_out_before.items()):
        topics: dict[str, list[int]] = defaultdict(list)
        if not partitions:
            # The node must stay on record: that it was stopped is what makes the roll wait for it.
            topics[""] = []
        for partition in partitions:
            topics[partition.topic].append(partition.partition)
        entries += [
            ReplicasOut(node=node, topic=topic, partitions=tuple(sorted(numbers)))
            for topic, numbers in sorted(topics.items())
        ]
    return tuple(entries)
