"""A roll that requires an approval, from the request to the end, on fakes: who may begin it and what stops it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from support.approvals import approval, create, install_policies, parsed
from support.fake_kube import FakeKube
from support.simulation import KEY, DieAt, Killed, Namespace, created, service

from controlplane.api import names
from controlplane.api.approval_policies import APPROVER_POLICY, REQUESTER_POLICY
from controlplane.api.conditions import timestamp
from controlplane.api.operation import Operation
from controlplane.domain.operation.permit import FREE
from controlplane.ports import ApprovalRecord, ForbiddenError, KubeApi, Object, Resource
from controlplane.services.operation.approvals import APPROVALS, BINDINGS, POLICIES, Approvals, record_of
from controlplane.services.operation.kind import Request
from controlplane.services.operation.outbox import Outbox

CLUSTER = ("kafkaclusters", "kafka", "cell")


async def asked(*, by: str = "alice", policies: bool = True) -> Namespace:
    """alice has changed the version of a cluster that requires approvals; the operator has looked at it."""
    namespace = await created()
    if policies:
        await install_policies(namespace.kube)
    meta = namespace.kube.objects[CLUSTER]["metadata"]
    meta.setdefault("annotations", {})[names.REQUESTED_BY] = by
    await namespace.change(version="4.3.1", rollout={"soak": "2s", "approval": "Required"})
    await passes(namespace, 3)
    return namespace


async def passes(namespace: Namespace, number: int) -> None:
    one = service(namespace, DieAt())
    for _ in range(number):
        namespace.turn()
        await one.reconcile(KEY)


async def say(namespace: Namespace, by: str, decision: str = "Approve", **fields: Any) -> str:
    """An Approval of the plan in the status, given now; its name."""
    operation = (await namespace.status()).get("operation") or {}
    values = {"plan_hash": operation.get("planHash", ""), "uid": uid(namespace), "at": namespace.clock.now()}
    return await create(namespace.kube, approval(by=by, decision=decision, **(values | fields)))


def uid(namespace: Namespace) -> str:
    return str(namespace.kube.objects[CLUSTER]["metadata"]["uid"])


def restarted(namespace: Namespace) -> int:
    return sum(len(uids) - 1 for uids in namespace.uids.values())


async def blocked(namespace: Namespace) -> tuple[str, str]:
    conditions = (await namespace.status())["conditions"]
    condition = next(entry for entry in conditions if entry["type"] == "Blocked")
    return condition["reason"] if condition["status"] == "True" else "", condition["message"]


async def test_without_an_approval_nothing_is_stopped() -> None:
    namespace = await asked()
    await passes(namespace, 20)
    assert restarted(namespace) == 0
    status = await namespace.status()
    assert status["operation"]["planHash"].startswith("sha256:")
    assert status["operation"]["step"]["checks"][0]["name"] == "AwaitingApproval"
    reason, message = await blocked(namespace)
    assert reason == "AwaitingApproval"
    assert "alice asked for it" in message
    assert f"kfleet approve {status['operation']['id']}" in message


async def test_approved_by_somebody_else_it_runs_and_says_under_what() -> None:
    namespace = await asked()
    name = await say(namespace, "bob")
    await passes(namespace, 1)
    assert (await namespace.status())["operation"]["approval"] == name
    await passes(namespace, 60)
    status = await namespace.status()
    assert restarted(namespace) == 3
    assert (status["lastOperation"]["outcome"], status["lastOperation"]["approval"]) == ("Succeeded", name)


async def test_not_required_needs_none() -> None:
    namespace = await asked()
    await namespace.change(rollout={"soak": "2s", "approval": "NotRequired"})
    await passes(namespace, 60)
    assert restarted(namespace) == 3


async def test_ones_own_request_stays_refused() -> None:
    namespace = await asked()
    await say(namespace, "alice")
    await passes(namespace, 10)
    assert restarted(namespace) == 0
    reason, message = await blocked(namespace)
    assert reason == "ApprovalInvalid"
    assert "one's own request is approved by somebody else" in message


async def test_nobody_stands_as_requester() -> None:
    namespace = await asked(by="")
    await say(namespace, "bob")
    await passes(namespace, 10)
    assert (restarted(namespace), (await blocked(namespace))[0]) == (0, "ApprovalInvalid")


async def test_a_changed_plan_voids_it() -> None:
    namespace = await asked()
    await say(namespace, "bob")
    await namespace.change(config={"num.io.threads": "3"})
    await passes(namespace, 10)
    assert restarted(namespace) == 0
    reason, message = await blocked(namespace)
    assert reason == "AwaitingApproval"
    assert "it is for another plan" in message
    await say(namespace, "bob")
    await passes(namespace, 60)
    assert restarted(namespace) == 3


async def test_a_plan_that_changes_half_way_stops_after_what_was_begun() -> None:
    namespace = await asked()
    await say(namespace, "bob")
    while restarted(namespace) == 0:
        await passes(namespace, 1)
    await namespace.change(config={"num.io.threads": "3"})
    await passes(namespace, 30)
    assert restarted(namespace) == 1
    assert len(namespace.kafka.up) == 3, "the node that was stopped is back"
    assert (await blocked(namespace))[0] == "AwaitingApproval"


async def test_the_same_plan_again_needs_a_new_one() -> None:
    """4.2.0 to 4.3.1, back, and again: the Approval of the first time is for the same hash, and used up."""
    namespace = await asked()
    await say(namespace, "bob")
    first = (await namespace.status())["operation"]["planHash"]
    await namespace.change(config={"num.io.threads": "3"})
    await passes(namespace, 2)
    namespace.clock.seconds += 3600
    await namespace.change(config={})
    await passes(namespace, 10)
    operation = (await namespace.status())["operation"]
    assert operation["planHash"] == first
    assert restarted(namespace) == 0
    assert "it was given before this was asked for" in (await blocked(namespace))[1]


async def test_denied_is_over_until_the_deny_is_taken_back() -> None:
    namespace = await asked()
    await say(namespace, "bob")
    deny = await say(namespace, "carol", "Deny", reason="not today")
    await passes(namespace, 10)
    status = await namespace.status()
    assert restarted(namespace) == 0
    assert status["lastOperation"]["outcome"] == "Denied"
    assert "operation" not in status
    reason, message = await blocked(namespace)
    assert reason == "Denied"
    assert "carol denied the plan" in message
    assert "not today" in message
    await namespace.kube.delete(APPROVALS, deny, "kafka")
    namespace.clock.seconds += 3600
    await passes(namespace, 5)
    assert (restarted(namespace), (await blocked(namespace))[0]) == (0, "AwaitingApproval")
    await say(namespace, "bob")
    await passes(namespace, 60)
    assert restarted(namespace) == 3


@pytest.mark.parametrize("undo", ["deleted", "denied"])
async def test_what_has_begun_is_not_undone(undo: str) -> None:
    namespace = await asked()
    name = await say(namespace, "bob")
    plan = (await namespace.status())["operation"]["planHash"]
    while restarted(namespace) == 0:
        await passes(namespace, 1)
    if undo == "deleted":
        await namespace.kube.delete(APPROVALS, name, "kafka")
    else:
        await say(namespace, "carol", "Deny", plan_hash=plan)
    await passes(namespace, 60)
    status = await namespace.status()
    assert restarted(namespace) == 3
    assert status["lastOperation"]["outcome"] == "Succeeded"


async def test_an_approval_deleted_before_anything_was_done_is_no_approval() -> None:
    namespace = await asked()
    name = await say(namespace, "bob")
    await namespace.kube.delete(APPROVALS, name, "kafka")
    await passes(namespace, 10)
    assert (restarted(namespace), (await blocked(namespace))[0]) == (0, "AwaitingApproval")


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_never_begins_without_and_always_ends_with_one(phase: str) -> None:
    number = 1 if phase == "after" else 2
    namespace = await asked()

    async def live() -> None:
        one = service(namespace, DieAt(number, phase))
        try:
            for _ in range(5):
                namespace.turn()
                await one.reconcile(KEY)
        except Killed:
            pass

    for _ in range(10):
        await live()
    assert restarted(namespace) == 0
    await say(namespace, "bob")
    for _ in range(200):
        await live()
        if (await namespace.status()).get("lastOperation"):
            break
    assert restarted(namespace) == 3
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"


GONE: dict[str, tuple[Resource, str, Any, str]] = {
    "no policy": (POLICIES, APPROVER_POLICY, None, "is not installed"),
    "no binding": (BINDINGS, APPROVER_POLICY, None, "is not installed"),
    "no requester policy": (POLICIES, REQUESTER_POLICY, None, "is not installed"),
    "a binding that only warns": (BINDINGS, APPROVER_POLICY, {"validationActions": ["Warn"]}, "does not deny"),
    "a binding for one namespace": (
        BINDINGS,
        REQUESTER_POLICY,
        {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
        "does not deny everywhere",
    ),
    "a binding of something else": (BINDINGS, APPROVER_POLICY, {"policyName": "other"}, "does not deny"),
}


@pytest.mark.parametrize("case", GONE)
async def test_where_admission_was_not_enforced_an_approval_proves_nothing(case: str) -> None:
    resource, name, change, says = GONE[case]
    namespace = await asked()
    key = (resource.plural, "", name)
    if change is None:
        await namespace.kube.delete(resource, name)
    else:
        namespace.kube.objects[key]["spec"] |= change
    await say(namespace, "bob")
    await passes(namespace, 10)
    assert restarted(namespace) == 0
    reason, message = await blocked(namespace)
    assert reason == "ApprovalInvalid"
    assert says in message


async def test_policies_younger_than_the_approval_prove_nothing() -> None:
    namespace = await asked(policies=False)
    await say(namespace, "bob")
    await install_policies(namespace.kube, at=namespace.clock.now() + 60)
    await passes(namespace, 10)
    assert restarted(namespace) == 0
    assert "is no older than it" in (await blocked(namespace))[1]
    namespace.clock.seconds += 120
    await say(namespace, "bob")
    await passes(namespace, 60)
    assert restarted(namespace) == 3, "one that was given under them counts"


async def test_an_approval_that_cannot_be_read_may_be_a_deny() -> None:
    namespace = await asked()
    name = await say(namespace, "carol", "Deny")
    namespace.kube.objects[("approvals", "kafka", name)]["spec"]["decision"] = "DenyWithVigour"
    await say(namespace, "bob")
    await passes(namespace, 10)
    assert restarted(namespace) == 0
    assert f"Approval {name} cannot be read" in (await blocked(namespace))[1]


class Recording(Outbox):
    def __init__(self) -> None:
        super().__init__(None)
        self.approvals: list[ApprovalRecord] = []

    def record_approval(self, approval: ApprovalRecord) -> None:
        self.approvals.append(approval)


class Forbidding:
    """A KubeApi whose policies this operator may not read, as under the roles of an older chart."""

    def __init__(self, inner: KubeApi) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        if resource is POLICIES:
            raise ForbiddenError(403, "Forbidden", "no")
        return await self._inner.get(resource, name, namespace)


@dataclass
class Waiting:
    """One object whose operation waits, without an engine around it."""

    kube: FakeKube
    obj: Object
    operation: Operation
    request: Request


async def waiting() -> Waiting:
    kube = FakeKube()
    await install_policies(kube)
    operation = Operation(
        id="toy-1-a", kind="Toy", goal="more", plan_hash="sha256:" + "c" * 64, started_at=timestamp(1_700_000_000)
    )
    meta = {"name": "cell", "namespace": "kafka", "uid": "u"}
    request = Request(approval_required=True, requested_by="alice")
    return Waiting(kube, {"kind": "KafkaCluster", "metadata": meta}, operation, request)


def given_in(case: Waiting, by: str = "bob", **fields: Any) -> Object:
    return approval(by=by, plan_hash=case.operation.plan_hash, uid="u", at=1_700_000_010, **fields)


async def test_the_ledger_is_told_of_each_approval_that_was_seen() -> None:
    case = await waiting()
    await create(case.kube, given_in(case, "alice", called="own"))
    await create(case.kube, given_in(case, called="other", reason="looks right"))
    outbox = Recording()
    permit = await Approvals(case.kube, outbox).judge(FREE, case.operation, case.request, case.obj)
    assert permit.approval == "other"
    assert {record.name for record in outbox.approvals} == {"own", "other"}
    (record,) = (record for record in outbox.approvals if record.name == "other")
    assert record == ApprovalRecord(
        uid=record.uid,
        name="other",
        namespace="kafka",
        target="KafkaCluster kafka/cell",
        target_uid="u",
        plan_hash=case.operation.plan_hash,
        decision="Approve",
        approver="bob",
        reason="looks right",
        at=1_700_000_010,
    )


def test_the_ledger_is_told_what_an_approval_sets_aside() -> None:
    plain: dict[str, Any] = {
        "by": "bob",
        "plan_hash": "sha256:" + "a" * 64,
        "uid": "u",
        "at": 0.0,
        "reason": "the disk is full",
    }
    assert record_of(parsed(**plain)).reason == "the disk is full"
    waived = parsed(**plain, overrides=[("Hazard", "KAFKA-20732"), ("Window", "")])
    assert record_of(waived).reason == "the disk is full (sets aside: Hazard KAFKA-20732, Window)"
    alone = parsed(**(plain | {"reason": ""}), overrides=[("Window", "")])
    assert record_of(alone).reason == "(sets aside: Window)"


async def test_policies_that_cannot_be_read_prove_nothing() -> None:
    case = await waiting()
    await create(case.kube, given_in(case))
    approvals = Approvals(Forbidding(case.kube))
    permit = await approvals.judge(FREE, case.operation, case.request, case.obj)
    assert permit.approval == ""
    assert "cannot be read by the operator" in permit.holds[0].evidence


async def test_deletion_and_cancellation_stay_what_they_are_under_a_deny() -> None:
    case = await waiting()
    await create(case.kube, given_in(case, decision="Deny"))
    permit = await Approvals(case.kube).judge(FREE, case.operation, case.request, case.obj)
    assert permit.stop == "Denied"
    cancelled = await Approvals(case.kube).judge(type(FREE)(stop="Cancelled"), case.operation, case.request, case.obj)
    assert cancelled.stop == "Cancelled"
