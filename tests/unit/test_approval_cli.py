"""When a word on an operation would mean nothing, `kfleet approve` and `kfleet deny` say so before they ask."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.api import names
from controlplane.api.approval import ApprovalDecision
from controlplane.api.operation import Operation, OperationStep, StepCheck
from controlplane.cli.deciding import _can_be_decided
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.op_find import Carried
from controlplane.cli.waiting import awaits_approval, why

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
