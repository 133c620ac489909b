"""Whether somebody who may has approved the plan that an operation is about to carry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from controlplane.api.approval import KIND, PLURAL, TARGET_NAME_PATH, Approval
from controlplane.api.approval_policies import ADMISSION_GROUP, ENFORCING
from controlplane.api.group import GROUP, VERSION
from controlplane.api.operation import Operation
from controlplane.domain.check import Check
from controlplane.domain.operation.approval import INVALID, Answer, Question, check_of, judge, unproven
from controlplane.domain.operation.permit import Permit
from controlplane.ports import ApprovalRecord, ForbiddenError, KubeApi, NotFoundError, Object, Resource
from controlplane.services.operation.kind import Request
from controlplane.services.operation.outbox import Outbox

APPROVALS = Resource(GROUP, VERSION, PLURAL, KIND)
POLICIES = Resource(ADMISSION_GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False)
BINDINGS = Resource(
    ADMISSION_GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)


class Approvals:
    """Reads Approval objects in the namespace of what they approve; only when an approval is required.

    Once an operation has begun under an Approval, that one is not asked for again: deleting it, or a late Deny, leaves
    no cell half changed. Whoever wants to stop it cancels the operation.
    """

    def __init__(self, kube: KubeApi, outbox: Outbox | None = None) -> None:
        self._kube, self._outbox = kube, outbox

    async def judge(self, permit: Permit, operation: Operation, request: Request, obj: Object) -> Permit:
        """The permit with what the approvals of `obj` add to it. Raises KubeError.

        `operation` is what a pass would write; what it began is asked of `obj`, which is what has been written.
        """
        if not request.approval_required:
            return permit
        status = obj.get("status") or {}
        if under_way := _begun(status.get("operation"), operation):
            return replace(permit, approval=under_way)
        question = question_of(obj, operation, requested_by=request.requested_by)
        approvals, unreadable = await self.about(obj)
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
        for name in ENFORCING:
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
        reason=spec.reason,
        at=_seconds(approval),
    )


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
