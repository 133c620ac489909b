"""Whether somebody who may has approved the plan that an operation is about to carry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from controlplane.api.approval import KIND, PLURAL, TARGET_NAME_PATH, Approval, ApprovalSpec
from controlplane.api.approval_policies import ADMISSION_GROUP, ENFORCING
from controlplane.api.group import GROUP, VERSION
from controlplane.api.operation import Operation
from controlplane.domain.check import Check
from controlplane.domain.operation.approval import (
    INVALID,
    Answer,
    Question,
    check_of,
    hold_of,
    judge,
    unproven,
    void_waivers,
    waivers,
)
from controlplane.domain.operation.permit import Permit, Waivable
from controlplane.ports import ApprovalRecord, ForbiddenError, KubeApi, NotFoundError, Object, Resource
from controlplane.services.operation.kind import Request
from controlplane.services.operation.outbox import Outbox

APPROVALS = Resource(GROUP, VERSION, PLURAL, KIND)
POLICIES = Resource(ADMISSION_GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False)
BINDINGS = Resource(
    ADMISSION_GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)


class Approvals:
    """Reads Approval objects in the namespace of what they approve; only when an approval is required or could help.

    Once an operation has begun under an Approval, that one is not asked for again: deleting it, or a late Deny, leaves
    no cell half changed. Whoever wants to stop it cancels the operation. What an Approval waives is asked for at every
    pass: without it the operation waits between two nodes, as it does when a window closes.
    """

    def __init__(self, kube: KubeApi, outbox: Outbox | None = None) -> None:
        self._kube, self._outbox = kube, outbox

    async def judge(self, permit: Permit, operation: Operation, request: Request, obj: Object) -> Permit:
        """The permit with what the approvals of `obj` add to it. Raises KubeError.

        `operation` is what a pass would write; what it began is asked of `obj`, which is what has been written.
        """
        barred = [waivable for waivable in request.waivable if waivable.bars(operation)]
        if not (request.approval_required or barred):
            return permit
        written = (obj.get("status") or {}).get("operation")
        under_way = _begun(written, operation) if request.approval_required else ""
        if under_way:
            permit = replace(permit, approval=under_way)
            if not barred:
                return permit
        question = question_of(obj, operation, requested_by=request.requested_by)
        approvals, unreadable = await self.about(obj)
        if request.approval_required and not under_way:
            permit = await self._decided(permit, question, approvals, unreadable)
        permit, waiver = await self._waived(permit, question, approvals, unreadable, barred)
        return permit if request.approval_required else replace(permit, approval=waiver)

    async def _decided(
        self, permit: Permit, question: Question, approvals: Sequence[Approval], unreadable: Sequence[str]
    ) -> Permit:
        """The permit with what is said about the plan itself."""
        verdict = judge(approvals, question)
        if verdict.answer is Answer.DENIED:
            denied = permit.with_hold(check_of(verdict, question))
            return replace(denied, stop=permit.stop or "Denied")
        if verdict.answer is Answer.WAITING:
            return permit.with_hold(check_of(verdict, question))
        if unreadable:
            return permit.with_hold(_unreadable(unreadable))
        (chosen,) = (approval for approval in approvals if approval.metadata.name == verdict.approval)
        if missing := await self._not_enforced(chosen):
            return permit.with_hold(unproven(verdict, missing))
        return replace(permit, approval=verdict.approval)

    async def _waived(
        self,
        permit: Permit,
        question: Question,
        approvals: Sequence[Approval],
        unreadable: Sequence[str],
        barred: Sequence[Waivable],
    ) -> tuple[Permit, str]:
        """The permit with a hold for everything that nobody has waived, and the Approval that waived something.

        An Approval that cannot be read may be a Deny.
        """
        given, believed = waivers(approvals, question) if not unreadable else {}, ""
        for waivable in barred:
            approval = given.get(waivable.override)
            missing = await self._not_enforced(approval) if approval is not None else []
            if approval is None or missing:
                void = void_waivers(approvals, question, waivable.override)
                permit = permit.with_hold(hold_of(waivable, question, void=void, missing=missing))
            else:
                believed = approval.metadata.name
        return permit, believed

    async def about(self, obj: Object) -> tuple[Sequence[Approval], Sequence[str]]:
        """Approvals that name the object, and the names of those that cannot be read. Each goes to the ledger."""
        meta = obj["metadata"]
        found = await self._kube.list(APPROVALS, meta["namespace"], fields=f"{TARGET_NAME_PATH[1:]}={meta['name']}")
        approvals, unreadable = [], []
        for item in found:
            try:
                approvals.append(Approval.model_validate(item))
            except ValidationError:
                unreadable.append(item["metadata"]["name"])
        if self._outbox is not None:
            for approval in approvals:
                self._outbox.record_approval(record_of(approval))
        return approvals, unreadable

    async def _not_enforced(self, approval: Approval) -> list[str]:
        """What of admission was not there when the Approval was created, as far as can be seen afterwards."""
        missing = []
        for name in ENFORCING[approval.spec.target_ref.kind]:
            for resource in (POLICIES, BINDINGS):
                what = f"{resource.kind} {name}"
                try:
                    found = await self._kube.get(resource, name)
                except NotFoundError:
                    missing.append(f"{what} is not installed")
                    continue
                except ForbiddenError:
                    missing.append(f"{what} cannot be read by the operator")
                    continue
                if resource is BINDINGS and not _denies(found["spec"], name):
                    missing.append(f"{what} does not deny everywhere")
                elif _seconds(found) >= _seconds(approval):
                    missing.append(f"{what} is no older than it")
        return missing


def question_of(obj: Object, operation: Operation, *, requested_by: str) -> Question:
    """What is asked of the Approvals for this operation of this object."""
    meta = obj["metadata"]
    last = (obj.get("status") or {}).get("lastOperation") or {}
    return Question(
        kind=obj["kind"],
        name=meta["name"],
        uid=meta["uid"],
        operation=operation.id,
        plan_hash=operation.plan_hash,
        requested_by=requested_by,
        first_requested_by=operation.requested_by,
        since=datetime.fromisoformat(operation.started_at).timestamp(),
        used=last.get("approval", ""),
    )


def record_of(approval: Approval) -> ApprovalRecord:
    meta, spec = approval.metadata, approval.spec
    return ApprovalRecord(
        uid=meta.uid,
        name=meta.name,
        namespace=meta.namespace,
        target=f"{spec.target_ref.kind} {meta.namespace}/{spec.target_ref.name}",
        target_uid=spec.target_ref.uid,
        plan_hash=spec.plan_hash,
        decision=spec.decision.value,
        approver=spec.approver,
        reason=" ".join(filter(None, (spec.reason, _set_aside(spec)))),
        at=_seconds(approval),
    )


def _set_aside(spec: ApprovalSpec) -> str:
    """Overrides, in words: the ledger keeps them with the reason."""
    what = [f"{override.type.value} {override.id}".strip() for override in spec.overrides]
    return f"(sets aside: {', '.join(what)})" if what else ""


def _begun(written: Object | None, operation: Operation) -> str:
    """The Approval under which this very plan has begun something, by what the status says; empty when it has not.

    A roll that waits may have journalled that a pod was started again, which is nothing of the plan's.
    """
    if written is None or (written["id"], written.get("planHash")) != (operation.id, operation.plan_hash):
        return ""
    journal = written.get("journal") or []
    done = journal if written.get("mode") == "Frozen" else [entry for entry in journal if entry.get("risk") != "Safe"]
    return str(written.get("approval", "")) if written.get("intent") or done else ""


def _denies(spec: Object, name: str) -> bool:
    """A binding that refuses, of this policy, and that nobody has narrowed to some namespaces or objects."""
    return spec.get("policyName") == name and "Deny" in spec["validationActions"] and not spec.get("matchResources")


def _seconds(thing: Approval | Object) -> float:
    if isinstance(thing, Approval):
        stamp = thing.metadata.creation_timestamp
    else:
        stamp = thing["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _unreadable(names: Sequence[str]) -> Check:
    return Check(
        INVALID,
        ok=False,
        evidence=f"Approval {', '.join(names)} cannot be read by this version and may be a Deny.",
        remedy="Update the operator, or have who made it delete it.",
    )
