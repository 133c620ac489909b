"""Who may do what among the sandbox's own parts: one user a part, one ClusterRole a user, nothing shared.

`up` applies `OBJECTS` (plain objects with apiVersion and kind, all cluster-scoped) with the admin's kubeconfig, and
issues client credentials for the users named here: `USERS["proxy"]` into `SandboxPaths.kubeconfig("proxy")`, and so on.
None of them belongs to a group beyond system:authenticated. Nodes are not here: the Node authorizer and NodeRestriction
say what `system:node:<name>` may do, and neither lets a node write a Service or a PersistentVolume.

No rule has a wildcard. Events are created, and counted up when they repeat (services.events).
"""

from __future__ import annotations

from typing import Any

from controlplane.ports import Object, Resource

CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)

USERS: dict[str, str] = {"proxy": "kfleet:sandbox:proxy", "provisioner": "kfleet:sandbox:provisioner"}
"""Kubeconfig identity -> user name (the CN of its client certificate)."""

KUBELET_CLIENT = "kfleet:sandbox:kubelet-client"
"""The user as which kube-apiserver asks nodes for logs; bound to ClusterRole system:kubelet-api-admin."""

READ = ["get", "list", "watch"]

RULES: dict[str, list[dict[str, Any]]] = {
    "proxy": [
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": READ},
        # the addresses of load balancers
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "get", "patch"]},
    ],
    "provisioner": [
        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": READ},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": READ},
        # patch: to withdraw the scheduler's choice of a node that is gone
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": [*READ, "patch"]},
        # the size that a claim has got after it was expanded
        {"apiGroups": [""], "resources": ["persistentvolumeclaims/status"], "verbs": ["patch"]},
        # patch: to drop its own finalizer once the directory is gone, and to expand
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": [*READ, "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "get", "patch"]},
    ],
}


def _role(part: str) -> Object:
    return {
        "apiVersion": CLUSTER_ROLES.api_version,
        "kind": CLUSTER_ROLES.kind,
        "metadata": {"name": USERS[part]},
        "rules": RULES[part],
    }


def _binding(part: str) -> Object:
    return {
        "apiVersion": CLUSTER_ROLE_BINDINGS.api_version,
        "kind": CLUSTER_ROLE_BINDINGS.kind,
        "metadata": {"name": USERS[part]},
        "roleRef": {"apiGroup": CLUSTER_ROLES.group, "kind": CLUSTER_ROLES.kind, "name": USERS[part]},
        "subjects": [{"apiGroup": CLUSTER_ROLES.group, "kind": "User", "name": USERS[part]}],
    }


OBJECTS: tuple[Object, ...] = tuple(build(part) for part in USERS for build in (_role, _binding))
"""Every ClusterRole and ClusterRoleBinding of the sandbox's parts; `up` applies them with force (server-side apply)."""
