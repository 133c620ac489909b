"""Approvals on fakes: the objects as an API server would have them, and the policies that make them worth something."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from support.fake_kube import FakeKube

from controlplane.api.approval import Approval
from controlplane.api.approval_policies import policies
from controlplane.api.conditions import timestamp
from controlplane.ports import Resource
from controlplane.services.operation.approvals import APPROVALS, BINDINGS, POLICIES

Object = dict[str, Any]
_numbers = itertools.count(1)
_BY_KIND: dict[str, Resource] = {resource.kind: resource for resource in (POLICIES, BINDINGS)}


def approval(
    *,
    by: str,
    plan_hash: str,
    uid: str,
    at: float,
    decision: str = "Approve",
    kind: str = "KafkaCluster",
    name: str = "cell",
    namespace: str = "kafka",
    called: str = "",
    reason: str = "",
    overrides: Sequence[tuple[str, str]] = (),
) -> Object:
    """As the API server has it; `at` is its creation in seconds since the epoch."""
    called = called or f"a-{next(_numbers)}"
    return {
        "metadata": {
            "name": called,
            "namespace": namespace,
            "uid": f"uid-{called}",
            "creationTimestamp": timestamp(at),
        },
        "spec": {
            "targetRef": {"kind": kind, "name": name, "uid": uid},
            "planHash": plan_hash,
            "decision": decision,
            "approver": by,
            "reason": reason,
        }
        | ({"overrides": [{"type": sort, "id": name} for sort, name in overrides]} if overrides else {}),
    }


def parsed(**fields: Any) -> Approval:
    return Approval.model_validate(approval(**fields))


async def install_policies(kube: FakeKube, *, at: float = 0.0) -> None:
    """What charts/kfleet installs; without these two an Approval is not believed."""
    for obj in policies():
        meta = obj["metadata"] | {"creationTimestamp": timestamp(at)}
        await kube.create(_BY_KIND[obj["kind"]], obj | {"metadata": meta})


async def create(kube: FakeKube, obj: Object) -> str:
    """Put an Approval there; its name."""
    return str((await kube.create(APPROVALS, obj))["metadata"]["name"])
