"""A change of members as `status.operation`. Nothing in it is needed to go on: it is the record, and what is approved.

One operation for all that differs at a time: its hash covers the members that are wanted and the node that a person
asked to replace, so it stays the same while nodes join and leave one by one.
"""

from __future__ import annotations

from controlplane.api.conditions import timestamp
from controlplane.api.operation import Operation, OperationIntent, OperationStep, Outcome, StepCheck
from controlplane.domain.check import Check, explain
from controlplane.domain.membership.values import (
    WAITING,
    AddVoter,
    AwaitMember,
    Change,
    DrainBrokers,
    FinishReplacement,
    Refused,
    RemoveVoter,
    RenewVolume,
    RetireNode,
    ReturnLeaders,
    StopMember,
    Target,
)
from controlplane.domain.operation.plan import HASH_PREFIX, Plan, operation_id
from controlplane.domain.operation.progress import entry_of, finished, journalled
from controlplane.domain.rolling.health import listing

KIND = "Membership"
GATES = ("Health", "MinIsr", "Quorum", "BrokerNotEmpty", "ReplaceWouldLoseData")
_PASSIVE = frozenset(action.__name__ for action in WAITING)
_DISRUPTIVE = frozenset({AddVoter.__name__, RemoveVoter.__name__, StopMember.__name__, RenewVolume.__name__})


def plan_of(target: Target, goal: str = "") -> Plan:
    return Plan(
        kind=KIND,
        mode="Replanned",
        goal=goal,
        constraints={
            "members": {str(node): sorted(roles) for node, roles in sorted(target.members.items())},
            "replace": target.request.text[:64] if target.request is not None else "",
        },
        gates=GATES,
    )


def identity(
    target: Target, *, uid: str, generation: int, under_way: Operation | None, last: Operation | None, cancelled: str
) -> str:
    """The operation's id: that of the one under way while it leads to the same members, else a derived one.

    A change that somebody has cancelled stays that cancelled one until the members wanted are others, also when a roll
    of that generation has ended since. Otherwise no id comes twice: each is salted with the operation that ended last,
    since a request by annotation, unlike a spec, can be the same again in one generation.
    """
    plan_hash, salt = plan_of(target).hash, uid
    if under_way is not None and under_way.kind == KIND and under_way.plan_hash == plan_hash:
        return under_way.id
    if last is not None:
        if last.id == cancelled and last.plan_hash == plan_hash:
            return last.id
        if last.kind != KIND and _names(cancelled, generation, plan_hash):
            return cancelled
        salt = f"{uid}/{last.id}"
    return _tagged(operation_id(KIND, salt, generation, plan_hash), plan_hash)


def _tagged(name: str, plan_hash: str) -> str:
    """The id with the plan's mark in front of its last part, so that it can be told what it was made for."""
    head, _, tail = name.rpartition("-")
    return f"{head}-{_mark(plan_hash)}{tail}"


def _names(name: str, generation: int, plan_hash: str) -> bool:
    """Whether this is the id of a change of members with that plan, asked for in that generation."""
    return name.startswith(f"{KIND.lower()}-{generation}-{_mark(plan_hash)}")


def _mark(plan_hash: str) -> str:
    return plan_hash.removeprefix(HASH_PREFIX)[:6]


def to_operation(
    change: Change,
    target: Target,
    before: Operation | None,
    *,
    id: str,  # noqa: A002 - the field's own name
    now: float,
    approval: str = "",
    requested_by: str = "",
) -> Operation:
    """The operation to write before the action. Steps count on while verb or node change."""
    same = before if before is not None and before.id == id else None
    old = same.step if same is not None else None
    journal = same.journal if same is not None else ()
    verb, node = verb_of(change), str(change.node) if change.node >= 0 else ""
    number = old.id if old is not None else 0
    if old is None or old.verb != verb or old.target != node:
        number += 1
        if old is not None and old.verb not in _PASSIVE:
            journal = journalled(journal, entry_of(old, 1, "Done", now=now))
    kept = same.intent if same is not None and old is not None and old.id == number else None
    uid = change.action.pod_uid if isinstance(change.action, StopMember) else ""
    return Operation(
        id=id,
        kind=KIND,
        plan_hash=plan_of(target).hash,
        goal=same.goal if same is not None else change.goal[:256],
        started_at=same.started_at if same is not None else timestamp(now),
        step=OperationStep(
            id=number,
            verb=verb,
            target=node,
            risk="Disruptive" if verb in _DISRUPTIVE else "Safe",
            checks=step_checks(failing(change)),
        ),
        requested_by=(same.requested_by if same is not None else requested_by)[:253],
        approval=approval,
        intent=None if verb in _PASSIVE else OperationIntent(uid=uid, at=kept.at if kept else timestamp(now)),
        message=describe(change)[:4096],
        journal=journal,
        recorded=same.recorded if same is not None else "No",
    )


def ended(operation: Operation, outcome: Outcome, *, message: str, now: float) -> Operation:
    """The change as `lastOperation`; the step that it was in closes its journal."""
    step, journal = operation.step, operation.journal
    if step is not None and step.verb not in _PASSIVE:
        result = "Done" if outcome == "Succeeded" else outcome
        journal = journalled(journal, entry_of(step, 1, result, now=now, message=message))
    return finished(operation.model_copy(update={"journal": journal}), outcome, message=message, now=now)


def verb_of(change: Change) -> str:
    return type(change.action).__name__


def failing(change: Change) -> tuple[Check, ...]:
    return change.action.checks if isinstance(change.action, WAITING) else ()


def step_checks(checks: tuple[Check, ...]) -> tuple[StepCheck, ...]:
    return tuple(
        StepCheck(name=check.name, evidence=check.evidence[:1024], remedy=check.remedy[:512]) for check in checks[:16]
    )


def describe(change: Change) -> str:
    """What the operation does or waits for, for people."""
    match change.action:
        case AddVoter(node=node):
            return f"making controller {node} a voter"
        case RemoveVoter(node=node):
            return f"taking the vote from controller {node}"
        case StopMember(node=node):
            return f"stopping node {node}"
        case RetireNode(node=node):
            return f"node {node} has left; its volumes stay"
        case RenewVolume(node=node, claim=claim):
            return f"node {node}: {claim} may be formatted again"
        case ReturnLeaders(node=node, partitions=partitions):
            return f"returning the leaders of {len(partitions)} partitions to node {node}"
        case FinishReplacement(node=node):
            return f"node {node} is whole"
        case AwaitMember(node=node, checks=checks):
            return f"waiting for node {node}: {explain(checks)}"
        case DrainBrokers(brokers=brokers, checks=checks):
            return f"broker {listing(brokers)} is emptied first: {explain(checks)}"
        case Refused(checks=checks):
            return f"blocked: {explain(checks)}"
