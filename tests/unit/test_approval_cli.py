"""When a word on an operation would mean nothing, `kfleet approve` and `kfleet deny` say so before they ask."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.api import names
from controlplane.api.approval import Approval, ApprovalDecision
from controlplane.api.operation import Operation, OperationStep, StepCheck
from controlplane.cli.connect import Connection
from controlplane.cli.deciding import Overrides, Word, _can_be_decided, _spec, create_approval, overrides
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.op_find import Carried
from controlplane.cli.waiting import awaits_approval, why
from controlplane.ports import KubeError, Object, Resource

APPROVE, DENY = ApprovalDecision.APPROVE, ApprovalDecision.DENY
AWAITS = StepCheck(name="AwaitingApproval", evidence="The plan needs an approval.")
PAUSED = StepCheck(name="Paused")


def waits(
    *, checks: tuple[StepCheck, ...] = (AWAITS,), seen: int = 2, by: str = "alice", blocked: str = "", **more: Any
) -> Carried:
    obj = {
        "kind": "KafkaCluster",
        "metadata": {
            "namespace": "kafka",
            "name": "orders",
            "uid": "u",
            "generation": 2,
            "annotations": {names.REQUESTED_BY: by},
        },
        "status": {"observedGeneration": seen},
    }
    step = OperationStep(id=1, verb="Blocked", checks=checks)
    operation = Operation(
        id="roll-2-ab", kind="Roll", goal="more", started_at="2026-11-01T00:00:00Z", step=step, **more
    )
    return Carried(obj, operation, blocked)


def test_what_waits_can_be_decided() -> None:
    for decision in (APPROVE, DENY):
        _can_be_decided(waits(), decision, "bob")
    _can_be_decided(waits(), DENY, "alice")
    _can_be_decided(waits(by=""), DENY, "bob")


@pytest.mark.parametrize(
    ("one", "decision", "user", "code", "says"),
    [
        (waits(), APPROVE, "alice", ExitCode.DENIED, "you (alice) asked for this yourself"),
        (waits(seen=1), APPROVE, "bob", ExitCode.FAILED, "has just changed, and its plan with it"),
        (waits(by=""), APPROVE, "bob", ExitCode.FAILED, "no approval of roll-2-ab would count: The plan needs"),
        (waits(outcome="Succeeded"), DENY, "bob", ExitCode.FAILED, "has ended (Succeeded)"),
        (waits(outcome="Denied", message="by carol"), APPROVE, "bob", ExitCode.DENIED, "was denied: by carol"),
        (waits(checks=()), APPROVE, "bob", ExitCode.FAILED, "does not wait for an approval (UnderWay"),
        (
            waits(checks=(), approval="a"),
            DENY,
            "bob",
            ExitCode.FAILED,
            "under Approval a; `kfleet op cancel roll-2-ab`",
        ),
    ],
    ids=["own", "changed", "nobody asked", "ended", "denied", "not required", "begun"],
)
def test_what_cannot_be_decided_says_why(
    one: Carried, decision: ApprovalDecision, user: str, code: ExitCode, says: str
) -> None:
    with pytest.raises(CliError) as refused:
        _can_be_decided(one, decision, user)
    assert refused.value.code is code
    assert says in str(refused.value)


def test_a_pause_in_front_hides_no_request() -> None:
    one = waits(checks=(PAUSED, AWAITS), blocked="Paused")
    assert awaits_approval(one)
    assert why(one) == AWAITS
    assert not awaits_approval(waits(checks=(PAUSED,), blocked="Paused"))


CLOSED = StepCheck(name="OutsideWindow", evidence="No maintenance window is open.")
WAIVES: Overrides = (("Window", ""),)


def test_what_only_a_window_holds_is_approved_with_a_waiver_and_not_without() -> None:
    one = waits(checks=(CLOSED,), blocked="OutsideWindow")
    _can_be_decided(one, APPROVE, "bob", WAIVES)
    _can_be_decided(waits(checks=(CLOSED,), approval="a"), APPROVE, "bob", WAIVES)
    with pytest.raises(CliError, match="something that can be set aside"):
        _can_be_decided(one, APPROVE, "bob")
    with pytest.raises(CliError, match="asked for this yourself"):
        _can_be_decided(one, APPROVE, "alice", WAIVES)
    with pytest.raises(CliError, match="does not wait for an approval"):
        _can_be_decided(waits(checks=()), APPROVE, "bob", WAIVES)


def test_overrides_are_ordered_known_and_shown() -> None:
    found = overrides(["STALE-REGISTRATION", "KAFKA-20732", "KAFKA-20732"], window=True)
    assert found == (("Hazard", "KAFKA-20732"), ("Hazard", "STALE-REGISTRATION"), ("Window", ""))
    words = Word(APPROVE, found).lines
    assert "hazard KAFKA-20732 is accepted: size retention" in words
    assert "the maintenance window is waived" in words
    assert (Word(APPROVE).lines, overrides([], window=False)) == ("", ())
    for wrong, near in (("KAFKA-20723", "did you mean KAFKA-20732"), ("KIP-896", "no hazard KIP-896 can be accepted")):
        with pytest.raises(CliError, match=near) as refused:
            overrides([wrong], window=False)
        assert refused.value.code is ExitCode.USAGE


def test_what_is_sent_is_an_approval_with_its_overrides_and_without_them_what_it_was() -> None:
    plain = _spec(waits(plan_hash=f"sha256:{'a' * 64}"), Word(APPROVE), "bob")
    assert set(plain) == {"targetRef", "planHash", "decision", "approver"}
    sent = _spec(waits(plan_hash=f"sha256:{'a' * 64}"), Word(APPROVE, overrides(["KAFKA-20732"], window=True)), "bob")
    assert sent == plain | {"overrides": [{"type": "Hazard", "id": "KAFKA-20732"}, {"type": "Window", "id": ""}]}
    read = Approval.model_validate({"metadata": {"name": "a"}, "spec": sent})
    assert [(override.type, override.id) for override in read.spec.overrides] == [
        ("Hazard", "KAFKA-20732"),
        ("Window", ""),
    ]


@pytest.mark.parametrize("waived", [(), WAIVES], ids=["plain", "with a waiver"])
async def test_a_waiver_is_never_created_as_something_less(waived: Overrides) -> None:
    """A CRD that does not know overrides would prune them, and leave an Approve of the whole plan."""
    sent: list[tuple[str, dict[str, str] | None]] = []

    class OldApi:
        async def create(self, resource: Resource, body: Object) -> Object:
            sent.append(("create", None))
            return body

        async def request(self, method: str, path: str, *, body: Object, params: dict[str, str]) -> Object:
            sent.append((method, params))
            raise KubeError(400, "BadRequest", 'strict decoding error: unknown field "spec.overrides"')

    connection = Connection(cast(KubeClient, OldApi()), "kafka", "kafka")
    word = Word(APPROVE, waived)
    if not waived:
        await create_approval(connection, {"metadata": {"namespace": "kafka"}}, word)
        assert sent == [("create", None)], "as ever"
        return
    with pytest.raises(CliError, match=r"older than this kfleet.*nothing was approved"):
        await create_approval(connection, {"metadata": {"namespace": "kafka"}}, word)
    ((method, params),) = sent
    assert method == "POST"
    assert params is not None
    assert params["fieldValidation"] == "Strict"
