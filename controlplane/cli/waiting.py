"""Operations that wait for an approval: which those are, who asked, and what the operator says about them."""

from __future__ import annotations

from controlplane.api import names
from controlplane.api.operation import StepCheck
from controlplane.cli.op_find import AWAITING, Carried, annotation


def awaits_approval(one: Carried) -> bool:
    return one.state == AWAITING


def requester(one: Carried) -> str:
    return annotation(one.obj, names.REQUESTED_BY)


def why(one: Carried) -> StepCheck:
    """The check that waits, in the operator's words; without them where the status only has the reason."""
    found = one.approval_checks
    return found[0] if found else StepCheck(name=one.blocked or "AwaitingApproval")
