"""Operations that wait for an approval: which those are, who asked, and what the operator says about them."""

from __future__ import annotations

from controlplane.api import names
from controlplane.api.approval import OverrideType
from controlplane.api.operation import StepCheck
from controlplane.cli.op_find import AWAITING, Carried, annotation
from controlplane.domain.hazards.values import HAZARD
from controlplane.domain.windows import OUTSIDE_WINDOW

HOLDS = {HAZARD: OverrideType.HAZARD.value, OUTSIDE_WINDOW: OverrideType.WINDOW.value}
"""Checks by name, and the type of override that sets each aside."""


def awaits_approval(one: Carried) -> bool:
    return one.state == AWAITING


def holds(one: Carried) -> frozenset[str]:
    """What it waits for that an Approval's overrides can set aside, as types of overrides."""
    step = one.operation.step
    return (
        frozenset(HOLDS[check.name] for check in step.checks if check.name in HOLDS)
        if step is not None
        else frozenset()
    )


def requester(one: Carried) -> str:
    return annotation(one.obj, names.REQUESTED_BY)


def why(one: Carried) -> StepCheck:
    """The check that waits, in the operator's words; without them where the status only has the reason."""
    found = one.approval_checks
    return found[0] if found else StepCheck(name=one.blocked or "AwaitingApproval")
