"""What `kfleet approve` and `kfleet deny` do: show the plan, ask, create the Approval, see what comes of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.api import kafka_cluster, kafka_rebalance
from controlplane.api.approval import PLURAL, ROLE, TARGET_NAME_PATH, TARGETS, VERB, ApprovalDecision, OverrideType
from controlplane.api.group import GROUP
from controlplane.api.rollout import ApprovalPolicy
from controlplane.cli.ask import confirm
from controlplane.cli.connect import FIELD_MANAGER, Connection, connect, run
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import did_you_mean
from controlplane.cli.op_find import Carried, find_operation
from controlplane.cli.op_view import in_full
from controlplane.cli.op_watch import follow
from controlplane.cli.options import Output, Where
from controlplane.cli.recorded import record
from controlplane.cli.render import Column, View, show_one
from controlplane.cli.waiting import awaits_approval, holds, requester, why
from controlplane.domain.hazards import CATALOGUE, WAIVABLE
from controlplane.domain.operation.permit import Waiver
from controlplane.ports import KubeError, Object
from controlplane.services.lease import owner_reference
from controlplane.services.operation.approvals import APPROVALS

Overrides = tuple[Waiver, ...]
_ASKS = {kafka_cluster.KIND: "spec.rollout.approval", kafka_rebalance.KIND: "spec.approval"}
"""By kind: the field that makes its plans wait."""
ACCESS_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

VIEW: View[Object] = View(
    kind="Approval",
    columns=(
        Column("NAME", lambda obj: obj["metadata"]["name"]),
        Column("DECISION", lambda obj: obj["spec"]["decision"]),
        Column("TARGET", lambda obj: obj["spec"]["targetRef"]["name"]),
        Column("APPROVER", lambda obj: obj["spec"]["approver"]),
        Column("PLAN", lambda obj: obj["spec"]["planHash"], wide=True),
    ),
    name=lambda obj: f"approval.{GROUP}/{obj['metadata']['name']}",
    document=lambda obj: {
        "metadata": {field: obj["metadata"][field] for field in ("namespace", "name", "uid")},
        "spec": obj["spec"],
    },
)


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says of a plan: the decision, and with an Approve what they set aside."""

    decision: ApprovalDecision
    overrides: Overrides = ()

    @property
    def document(self) -> list[Object]:
        return [{"type": kind, "id": name} for kind, name in self.overrides]

    @property
    def lines(self) -> str:
        """For whoever is asked; empty without overrides."""
        words = [
            f"  hazard {name} is accepted: {CATALOGUE[name].title}"
            if kind == OverrideType.HAZARD
            else "  the maintenance window is waived: it goes on at any time"
            for kind, name in self.overrides
        ]
        return "\n".join(["this approval also sets aside, for this plan only:", *words]) if words else ""


def decide(
    where: Where,
    wanted: str,
    decision: str,
    output: Output,
    *,
    reason: str,
    yes: bool,
    wait: bool,
    timeout: float | None,
    overrides: Overrides = (),
) -> ExitCode:
    word = Word(ApprovalDecision(decision), overrides)
    return run(_decide(where, wanted, word, output, reason, yes=yes, wait=wait, timeout=timeout))


def overrides(hazards: Sequence[str], *, window: bool) -> Overrides:
    """As an Approval names them, in a fixed order. Raises CliError for a hazard that holds nothing."""
    for name in hazards:
        if name not in WAIVABLE:
            raise CliError(f"no hazard {name} can be accepted{did_you_mean(name, sorted(WAIVABLE))}", ExitCode.USAGE)
    found = [(OverrideType.HAZARD.value, name) for name in sorted(set(hazards))]
    return (*found, *([(OverrideType.WINDOW.value, "")] if window else ()))


async def _decide(
    where: Where,
    wanted: str,
    word: Word,
    output: Output,
    reason: str,
    *,
    yes: bool,
    wait: bool,
    timeout: float | None,  # noqa: ASYNC109 - how long the answer is waited for, not a limit of the whole
) -> ExitCode:
    async with connect(where) as connection:
        one = await find_operation(connection, wanted, anywhere=where.namespace is None)
        user = await connection.user()
        _can_be_decided(one, word.decision, user, word.overrides)
        await _may_decide(connection, one, user)
        given = await _given_before(connection, one, word, user)
        if given is not None:
            _say(f"you have said so already (Approval {given['metadata']['name']})")
        else:
            _say(in_full(one, (), "", every=False).partition("\n\nnext\n")[0])
            if word.lines:
                print(word.lines, file=sys.stderr)
            confirm(f"{word.decision.value.lower()} {one.operation.id} of {one.subject}", yes)
            given = await _give(connection, one, word, user, reason)
        show_one(output, VIEW, given)
        return await _taken_up(connection, one, word, timeout) if wait else ExitCode.OK


def _can_be_decided(one: Carried, decision: ApprovalDecision, user: str, overrides: Overrides = ()) -> None:
    """Raises CliError when a word on this operation would mean nothing, and why."""
    operation = one.operation
    if operation.outcome == "Denied":
        raise CliError(f"{operation.id} was denied: {operation.message}", ExitCode.DENIED)
    if not one.under_way:
        raise CliError(f"{operation.id} has ended ({operation.outcome}); there is nothing to decide")
    held = holds(one)
    if not awaits_approval(one) and not (overrides and held):
        if held and decision is ApprovalDecision.APPROVE:
            raise CliError(
                f"{operation.id} of {one.subject} does not wait for an approval but for something that can be set "
                f"aside: {operation.message}"
            )
        if operation.approval:
            stop = f"; `kfleet op cancel {operation.id}` stops it" if decision is ApprovalDecision.DENY else ""
            raise CliError(f"{operation.id} goes on already, under Approval {operation.approval}{stop}")
        raise CliError(
            f"{operation.id} of {one.subject} does not wait for an approval "
            f"({one.state}; {_ASKS[one.obj['kind']]}: {ApprovalPolicy.REQUIRED} makes plans wait)"
        )
    meta = one.obj["metadata"]
    if one.obj["status"].get("observedGeneration") != meta["generation"]:
        raise CliError(f"{one.subject} has just changed, and its plan with it; look again once the operator has looked")
    if decision is ApprovalDecision.APPROVE and requester(one) == user:
        raise CliError(f"you ({user}) asked for this yourself: somebody else has to approve it", ExitCode.DENIED)
    if decision is ApprovalDecision.APPROVE and not requester(one):
        raise CliError(f"no approval of {operation.id} would count: {why(one).evidence}")


async def _may_decide(connection: Connection, one: Carried, user: str) -> None:
    """Before anybody is asked anything. Admission says the same again. Raises CliError."""
    for verb, resource, name in ((VERB, TARGETS[one.obj["kind"]], one.name), ("create", PLURAL, "")):
        attributes = {"group": GROUP, "resource": resource, "verb": verb, "namespace": one.namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await connection.kube.request("POST", ACCESS_REVIEW, body=review)
        if not answer["status"]["allowed"]:
            what = f"{resource}.{GROUP} {one.namespace}/{name}" if name else f"{resource}.{GROUP} in {one.namespace}"
            raise CliError(f"{user} lacks the verb {verb} on {what} (ClusterRole {ROLE} has it)", ExitCode.DENIED)


async def _given_before(connection: Connection, one: Carried, word: Word, user: str) -> Object | None:
    """The same word on the same plan by the same person, given while it waits: a command that is repeated."""
    found = await connection.kube.list(APPROVALS, one.namespace, fields=f"{TARGET_NAME_PATH[1:]}={one.name}")
    wanted = _spec(one, word, user)
    mine = [
        obj
        for obj in found
        if {key: obj["spec"].get(key) for key in wanted} == wanted
        and obj["metadata"]["creationTimestamp"] >= one.operation.started_at
    ]
    return mine[-1] if mine else None


async def _give(connection: Connection, one: Carried, word: Word, user: str, reason: str) -> Object:
    operation = one.operation
    detail: Object = {"planHash": operation.plan_hash, "goal": operation.goal, "reason": reason}
    if word.overrides:
        detail["overrides"] = word.document
    await record(user, word.decision.value, one.subject, cell=one.cell, operation=operation.id, detail=detail)
    owner = owner_reference(one.obj)
    body = {
        "metadata": {"generateName": f"{one.name}-", "namespace": one.namespace, "ownerReferences": [owner]},
        "spec": _spec(one, word, user) | ({"reason": reason} if reason else {}),
    }
    return await create_approval(connection, body, word)


async def create_approval(connection: Connection, body: Object, word: Word) -> Object:
    """With everything that was said, or not at all: an API server whose CRD is older than overrides would leave them
    out and keep the rest, which approves the plan. Raises CliError, KubeError."""
    if not word.overrides:
        return await connection.kube.create(APPROVALS, body)
    try:
        return await connection.kube.request(
            "POST",
            APPROVALS.path(body["metadata"]["namespace"]),
            body={"apiVersion": APPROVALS.api_version, "kind": APPROVALS.kind} | body,
            params={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
        )
    except KubeError as error:
        if "spec.overrides" not in str(error) or "unknown field" not in str(error):
            raise
        raise CliError(
            "the cluster's CRD of Approvals is older than this kfleet and knows no overrides, so nothing was approved: "
            "apply charts/kfleet/10-crd-approvals.yaml first"
        ) from error


def _spec(one: Carried, word: Word, user: str) -> Object:
    spec = {
        "targetRef": {"kind": one.obj["kind"], "name": one.name, "uid": one.obj["metadata"]["uid"]},
        "planHash": one.operation.plan_hash,
        "decision": word.decision.value,
        "approver": user,
    }
    return spec | ({"overrides": word.document} if word.overrides else {})


async def _taken_up(
    connection: Connection,
    one: Carried,
    word: Word,
    timeout: float | None,  # noqa: ASYNC109 - an option, and it says more than that time is up
) -> ExitCode:
    """Until the operator has acted on it: approved it goes on, denied it has ended."""
    latest, decision = one, word.decision
    waived = {kind for kind, _ in word.overrides}
    try:
        async with asyncio.timeout(timeout):
            async for now in follow(connection, one):
                latest = now
                if now.operation.outcome == "Denied":
                    _say(f"{one.operation.id} was denied: {now.operation.message}")
                    return ExitCode.OK if decision is ApprovalDecision.DENY else ExitCode.DENIED
                if now.operation.outcome is not None:
                    break
                if decision is ApprovalDecision.APPROVE and now.operation.approval and not awaits_approval(now):
                    if holds(now) & waived:
                        continue
                    break
    except TimeoutError:
        checks: Sequence[str] = [why(latest).evidence] if awaits_approval(latest) else [latest.operation.message]
        _say(f"not taken up within {timeout:g} s: {' '.join(checks)}")
        return ExitCode.WAITING if awaits_approval(latest) else ExitCode.UNHEALTHY
    if latest.operation.approval:
        _say(f"{one.operation.id} goes on under Approval {latest.operation.approval}")
        return ExitCode.OK if decision is ApprovalDecision.APPROVE else ExitCode.FAILED
    _say(f"{one.operation.id} has ended: {latest.operation.outcome}")
    return ExitCode.FAILED


def _say(text: str) -> None:
    print(text if "\n" in text else f"kfleet: {text}", file=sys.stderr)
