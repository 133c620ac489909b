"""People with real identities and real RBAC on a lean API server, for what approvals are about.

alice edits, bob approves, erin may do both, mallory edits and writes Approvals but may not approve, olga approves the
cluster `other` only. The operator has its own ServiceAccount and the chart's role.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from support import refusals
from support.api_server import ApiServer, running_api_server
from support.refusals import changed
from support.sandbox import wait

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.api import names

CHART = Path(__file__).parents[2] / "charts" / "kfleet"
POLICIES = str(CHART / "20-policies.yaml")
PEOPLE = ("alice", "bob", "erin", "mallory", "olga")
PLAN = "sha256:" + "a" * 64
ANNOTATION = f"metadata.annotations[{names.REQUESTED_BY}]"


def role_binding(name: str, role: str, *users: str, kind: str = "ClusterRole") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "kafka"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users],
    }


def role(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": "kafka"},
        "rules": [{"apiGroups": ["kfleet.dev"]} | rule for rule in rules],
    }


RIGHTS = [
    role_binding("viewers", "kfleet-view", *PEOPLE),
    role_binding("editors", "kfleet-edit", "alice", "erin", "mallory"),
    role_binding("approvers", "kfleet-approver", "bob", "erin"),
    # A role somebody made too wide: Approvals may be written, and nothing be approved.
    role("careless", {"resources": ["approvals"], "verbs": ["create", "delete", "deletecollection"]}),
    role_binding("careless", "careless", "mallory", "olga", kind="Role"),
    role("one-cluster", {"resources": ["kafkaclusters"], "resourceNames": ["other"], "verbs": ["approve"]}),
    role_binding("one-cluster", "one-cluster", "olga", kind="Role"),
]


@contextmanager
def approval_server(root: Path) -> Iterator[ApiServer]:
    """With the chart's files applied, its policies in force, and everybody's rights in namespace kafka."""
    with running_api_server(root, users=PEOPLE) as running:
        running.kubectl("apply", "-f", str(CHART))
        for kind in ("kafkaclusters.kfleet.dev", "approvals.kfleet.dev"):
            running.kubectl("wait", "--for=condition=Established", f"crd/{kind}", "--timeout=30s")
        running.kubectl("create", "namespace", "kafka")
        running.kubectl("apply", "-f", "-", objects=RIGHTS)
        may(running)
        in_force(running)
        yield running


def may(server: ApiServer) -> None:
    """Rights take effect a moment after they are bound, in the order in which they were: wait for the last ones."""
    for user, verb, resource in (
        ("system:serviceaccount:kfleet:kfleet-operator", "list", "kafkaclusters.kfleet.dev"),
        ("alice", "patch", "kafkaclusters.kfleet.dev"),
        ("bob", "create", "approvals.kfleet.dev"),
        ("olga", "approve", "kafkaclusters.kfleet.dev/other"),
    ):
        server.until("-n", "kafka", "auth", "can-i", verb, resource, f"--as={user}")


def in_force(server: ApiServer) -> None:
    """Policies take effect a moment after they are created: wait until each refuses what it is there for, and until
    an Approval created now is younger than all of them, in whole seconds."""
    forged = approval("probe", by="nobody", uid="u")
    server.until("create", "--dry-run=server", "-f", "-", objects=[forged], says="spec.approver: is")
    server.until("create", "--dry-run=server", "-f", "-", objects=[cluster("probe", by="nobody")], says=ANNOTATION)
    kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    found = json.loads(server.kubectl("get", kinds, "-o", "json"))["items"]
    newest = max(datetime.fromisoformat(item["metadata"]["creationTimestamp"]).timestamp() for item in found)
    wait("the policies are older than what is made now", lambda: time.time() >= newest + 1)


def cluster(name: str, *, by: str = "", required: bool = True, **changes: Any) -> dict[str, Any]:
    obj = changed(refusals.cluster(), {"metadata/name": name} | changes)
    if required:
        obj["spec"]["rollout"]["approval"] = "Required"
    if by:
        obj["metadata"]["annotations"] = {names.REQUESTED_BY: by}
    return obj


def approval(name: str, *, by: str, uid: str, target: str = "orders", **spec: Any) -> dict[str, Any]:
    reference = {"kind": "KafkaCluster", "name": target, "uid": uid}
    values = {"targetRef": reference, "planHash": PLAN, "decision": "Approve", "approver": by} | spec
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "Approval",
        "metadata": {"name": name, "namespace": "kafka"},
        "spec": values,
    }


def as_operator(server: ApiServer) -> KubeClient:
    """Use as an async context manager."""
    token = server.kubectl("create", "token", "kfleet-operator", "-n", "kfleet").strip()
    return KubeClient(from_kubeconfig(server.with_token(token, "operator").kubeconfig), timeout=60.0)
