"""What the Approvals in a namespace are worth for the plan that waits. Pure.

A Deny of the plan wins over every Approve of it and stands until it is taken back. An Approve counts for the object,
the plan and the wait that it was given for: not for another object (name and uid), not for a changed plan, not for the
same plan asked for again later, and never from whoever asked.

That the approver really is who created the object, and may approve, only the API server can know
(api/approval_policies); nothing here can tell a forged approver from a true one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from controlplane.api import names
from controlplane.api.approval import Approval, ApprovalDecision
from controlplane.domain.check import Check
from controlplane.domain.operation.permit import Waivable, Waiver

CLOCK_SKEW_SECONDS = 60.0
"""The operator's clock says when the wait began, the API server's when an Approval was created."""
SHOWN_HASH = 19
"""`sha256:` and twelve digits: enough to tell plans apart in a message."""
_SHOWN_REASON = 256
_SHOWN_VOID = 4

AWAITING = "AwaitingApproval"
DENIED = "Denied"
INVALID = "ApprovalInvalid"
UNDECIDED = frozenset({AWAITING, DENIED, INVALID})
"""Holds under which nobody has agreed to the plan."""


class Answer(StrEnum):
    WAITING = "Waiting"
    APPROVED = "Approved"
    DENIED = "Denied"


@dataclass(frozen=True, slots=True)
class Question:
    """The plan that waits, whose it is, who asked, and since when it waits (seconds since the epoch).

    `first_requested_by` stood as who asked when the plan first appeared: a spec that is touched again without changing
    the plan has another requester, and neither may approve it. `used` is the Approval that the object's last operation
    ran under: that it is for another plan is nothing to tell.
    """

    kind: str
    name: str
    uid: str
    operation: str
    plan_hash: str
    requested_by: str
    first_requested_by: str = field(default="", kw_only=True)
    since: float
    used: str = ""


@dataclass(frozen=True, slots=True)
class Void:
    """An Approve that does not count, and why. `fresh`: given while this plan was waiting."""

    approval: str
    approver: str
    why: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """`approval` is the name of the Approval that decided, `by` who gave it, `reason` their words."""

    answer: Answer
    approval: str = ""
    by: str = ""
    reason: str = ""
    void: tuple[Void, ...] = ()


def judge(approvals: Iterable[Approval], question: Question) -> Verdict:
    """The oldest Deny of the plan, else the newest Approve that counts, else a wait and what does not count and why.

    The newest, because what the policies were worth when it was created is asked of it afterwards.
    """
    about = _about(approvals, question)
    for approval in about:
        if approval.spec.decision is ApprovalDecision.DENY and _same_plan(approval, question):
            return _verdict(Answer.DENIED, approval)
    void: list[Void] = []
    for approval in reversed(about):
        if approval.spec.decision is not ApprovalDecision.APPROVE:
            continue
        why = _void(approval, question)
        if not why:
            return _verdict(Answer.APPROVED, approval)
        meta = approval.metadata
        void.insert(0, Void(meta.name, approval.spec.approver, why, fresh=_created(approval) >= question.since))
    return Verdict(Answer.WAITING, void=tuple(entry for entry in void if entry.approval != question.used))


def waivers(approvals: Iterable[Approval], question: Question) -> dict[Waiver, Approval]:
    """What the Approves that count set aside for this plan, each with the newest Approval that says so.

    One that counts nothing as an approval waives nothing either, and a Deny of the plan takes every waiver with it. It
    makes no difference whether the plan requires an approval.
    """
    about = _about(approvals, question)
    if any(approval.spec.decision is ApprovalDecision.DENY and _same_plan(approval, question) for approval in about):
        return {}
    return {
        (override.type.value, override.id): approval
        for approval in about
        if approval.spec.decision is ApprovalDecision.APPROVE and not _void(approval, question)
        for override in approval.spec.overrides
    }


def void_waivers(approvals: Iterable[Approval], question: Question, waiver: Waiver) -> tuple[Void, ...]:
    """Approves given while this plan was waiting that name `waiver` and do not count, oldest first."""
    return tuple(
        Void(approval.metadata.name, approval.spec.approver, why, fresh=True)
        for approval in _about(approvals, question)
        if approval.spec.decision is ApprovalDecision.APPROVE
        and waiver in {(override.type.value, override.id) for override in approval.spec.overrides}
        and _created(approval) >= question.since
        and (why := _void(approval, question))
    )


def hold_of(waivable: Waivable, question: Question, *, void: Sequence[Void] = (), missing: Sequence[str] = ()) -> Check:
    """The failed check of something that nobody has waived, with how that is done and why what was said counts nothing.

    `missing` is what of admission was not in force when the Approval was given that would have counted.
    """
    check = waivable.check
    notes = [_sentence(entry) for entry in void[-_SHOWN_VOID:]]
    if missing:
        notes.append(f"An Approval waives it and proves nothing: {'; '.join(missing)}.")
    remedy = f"Or somebody else says `kfleet approve {question.operation} {waivable.option}`."
    if not question.requested_by:
        remedy += f" (Nobody stands as who asked for it, annotation {names.REQUESTED_BY}: no Approval would count.)"
    return replace(check, evidence=" ".join([check.evidence, *notes]), remedy=f"{check.remedy} {remedy}".strip())


def check_of(verdict: Verdict, question: Question) -> Check:
    """The failed check for a verdict other than Approved.

    An Approval given while the plan waits and void all the same is ApprovalInvalid: somebody believes that it counts.
    An older one is only mentioned: the newest, because it may have been for the plan before this one.
    """
    plan = f"plan {question.plan_hash[:SHOWN_HASH]}"
    if verdict.answer is Answer.DENIED:
        words = f": {verdict.reason[:_SHOWN_REASON]}" if verdict.reason else ""
        return Check(
            DENIED,
            ok=False,
            evidence=f"{verdict.by} denied the {plan} (Approval {verdict.approval}){words}",
            remedy=f"Change the spec; or {verdict.by} takes it back: `kubectl delete kfa {verdict.approval}`.",
        )
    asked = f"{question.requested_by} asked for it" if question.requested_by else "nobody stands as who asked for it"
    waits = f"The {plan} needs an approval; {asked}."
    remedy = f"Somebody else looks at it and says `kfleet approve {question.operation}`."
    fresh = [entry for entry in verdict.void if entry.fresh]
    if fresh:
        return Check(
            INVALID, ok=False, evidence=" ".join([waits, *map(_sentence, fresh[-_SHOWN_VOID:])]), remedy=remedy
        )
    return Check(AWAITING, ok=False, evidence=" ".join([waits, *map(_sentence, verdict.void[-1:])]), remedy=remedy)


def unproven(verdict: Verdict, missing: Sequence[str]) -> Check:
    """An Approval that counts, where what would have refused a forged one was not in force."""
    return Check(
        INVALID,
        ok=False,
        evidence=f"Approval {verdict.approval} in the name of {verdict.by} proves nothing: {'; '.join(missing)}.",
        remedy="Apply charts/kfleet/20-policies.yaml again, then have the plan approved again.",
    )


def _about(approvals: Iterable[Approval], question: Question) -> list[Approval]:
    """Those that name the object, the oldest first; one that is being deleted is gone."""
    return sorted(
        (
            approval
            for approval in approvals
            if (approval.spec.target_ref.kind, approval.spec.target_ref.name) == (question.kind, question.name)
            and approval.metadata.deletion_timestamp is None
        ),
        key=lambda approval: (_created(approval), approval.metadata.name),
    )


def _verdict(answer: Answer, approval: Approval) -> Verdict:
    return Verdict(answer, approval.metadata.name, approval.spec.approver, approval.spec.reason)


def _sentence(void: Void) -> str:
    return f"Approval {void.approval} by {void.approver} does not count: {void.why}."


def _same_plan(approval: Approval, question: Question) -> bool:
    return (approval.spec.target_ref.uid, approval.spec.plan_hash) == (question.uid, question.plan_hash)


def _void(approval: Approval, question: Question) -> str:
    """Why an Approve of the object's name does not count; empty when it does."""
    spec = approval.spec
    if spec.target_ref.uid != question.uid:
        return f"it is for another {question.kind} of that name (uid {spec.target_ref.uid})"
    if spec.plan_hash != question.plan_hash:
        return f"it is for another plan, {spec.plan_hash[:SHOWN_HASH]}"
    if not question.requested_by:
        return "nobody stands as who asked for this spec, so it cannot be told from one's own request"
    if spec.approver in (question.requested_by, question.first_requested_by):
        return "one's own request is approved by somebody else"
    if _created(approval) < question.since - CLOCK_SKEW_SECONDS:
        return "it was given before this was asked for"
    if approval.metadata.name == question.used:
        return "it was used up by the operation before this one"
    return ""


def _created(approval: Approval) -> float:
    """Seconds since the epoch; the beginning of time for an object without the stamp that every API server sets."""
    stamp = approval.metadata.creation_timestamp
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
