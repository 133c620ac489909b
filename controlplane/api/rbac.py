"""What the operator may do, in one table: the chart's roles are generated from it and tests read it.

`OPERATOR` is what it may do in every namespace, `SECRETS` what more it may do in those that are enrolled: somebody
binds that role to its account there, and the chart does nowhere. No wildcards; Secrets one by one by name, never listed
or watched. A test compares the tables with the API server's audit log, so a verb that nothing uses is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.api import approval, kafka_cluster, kafka_rebalance, kafka_tenant, kafka_topic, kafka_user
from controlplane.api.approval_policies import ADMISSION_GROUP, ENFORCING
from controlplane.api.group import GROUP
from controlplane.api.names import OPERATOR as OPERATOR_NAME
from controlplane.api.names import OPERATOR_NAMESPACE, SECRETS_ROLE

Object = dict[str, Any]
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_API = f"{RBAC_GROUP}/v1"

READ = ("get", "list", "watch")


@dataclass(frozen=True, slots=True)
class Grant:
    """`verbs` on `resource` of API group `group`, wherever its role is bound; only on objects of these `names`, if any.

    Server-side apply of an object that may not exist yet takes `patch` and `create`.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()


EDITABLE = (kafka_cluster.PLURAL, kafka_topic.PLURAL, kafka_rebalance.PLURAL, kafka_user.PLURAL)
"""What whoever may edit a namespace may edit in it. Approvals are not among them."""
VIEWABLE = (*EDITABLE, approval.PLURAL, kafka_tenant.PLURAL)
"""What whoever may view may view. Tenants are cluster-scoped: only a ClusterRoleBinding reaches them."""
TENANT_EDITOR = "kfleet-tenant-editor"
"""ClusterRole of who hands out brokers and namespaces. It is aggregated into nothing: whoever may edit a namespace must
not thereby be able to take another one's."""

_ENFORCING = tuple(dict.fromkeys(name for names in ENFORCING.values() for name in names))

OPERATOR: tuple[Grant, ...] = (
    Grant(GROUP, kafka_cluster.PLURAL, READ, "the objects to reconcile"),
    Grant(GROUP, kafka_topic.PLURAL, ("list", "watch"), "the objects to reconcile, in bulk"),
    Grant(
        GROUP,
        kafka_rebalance.PLURAL,
        (*READ, "create", "patch", "delete"),
        "the objects to reconcile, and their finalizer; create is for tenants whose shard moves and rolls that move "
        "replicas away, delete for such ones that are over",
    ),
    Grant(GROUP, kafka_user.PLURAL, ("list", "watch", "patch"), "the objects to reconcile, in bulk; their finalizer"),
    Grant(GROUP, kafka_tenant.PLURAL, ("list", "watch"), "the objects to reconcile, all of a cluster together"),
    *(
        Grant(GROUP, f"{plural}/status", ("update",), "status, written with a resourceVersion")
        for plural in (*EDITABLE, kafka_tenant.PLURAL)
    ),
    Grant(GROUP, approval.PLURAL, ("list", "watch"), "who has approved or denied the plan of an operation"),
    *(
        Grant(ADMISSION_GROUP, plural, ("get",), "an Approval proves nothing where these are missing", _ENFORCING)
        for plural in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    ),
    Grant("", "pods", ("list", "watch", "create", "delete"), "Kafka nodes; delete is how one is restarted"),
    Grant("", "persistentvolumeclaims", ("list", "watch", "create", "patch"), "volumes and their marks; never deleted"),
    Grant(
        "",
        "nodes",
        ("list", "watch"),
        "which are cordoned: a drain is a planned restart; addresses that brokers advertise",
    ),
    Grant("", "persistentvolumes", ("get",), "whether a volume can follow its pod off a cordoned node"),
    Grant("storage.k8s.io", "storageclasses", ("get",), "whether a volume that is declared larger may grow"),
    Grant(
        "",
        "services",
        (*READ, "create", "patch", "delete"),
        "headless, bootstrap and brokers' Services; delete is for listeners and brokers that are gone",
    ),
    Grant(
        "",
        "configmaps",
        ("list", "get", "create", "patch", "delete"),
        "configuration of nodes, addresses of controllers, large plans; delete is for plans that no status names",
    ),
    Grant("", "namespaces", ("get",), "whether one is going, and what an operation began must not keep it"),
    Grant("policy", "poddisruptionbudgets", ("list", "get", "create", "patch"), "the drain gate"),
    Grant("", "events", ("create", "get", "patch"), "Events, repeats counted"),
    Grant("coordination.k8s.io", "leases", ("get", "create", "update"), "one active operator; one operation a cell"),
)

SECRETS: tuple[Grant, ...] = (
    Grant(
        "", "secrets", ("get", "create", "patch", "delete"), "authorities, certificates, users' credentials; by name"
    ),
)
"""ClusterRole SECRETS_ROLE. A RoleBinding of it is all that enrols a namespace; the chart binds it nowhere."""


def enrolling(namespace: str) -> str:
    """The command that enrols a namespace, for a shell. Who holds what it grants there, as `admin` does, may run it."""
    bound = f"--clusterrole={SECRETS_ROLE} --serviceaccount={OPERATOR_NAMESPACE}:{OPERATOR_NAME}"
    return f"kubectl create rolebinding {SECRETS_ROLE} -n {namespace} {bound}"


USER_READ = READ
USER_WRITE = ("create", "update", "patch", "delete", "deletecollection")
TENANTS = (Grant(GROUP, kafka_tenant.PLURAL, (*USER_READ, *USER_WRITE), "who may use which brokers, and how much"),)
APPROVER: tuple[Grant, ...] = (
    *(
        Grant(GROUP, plural, (*USER_READ, approval.VERB), "the plans, and the right to decide on them")
        for plural in approval.TARGETS.values()
    ),
    Grant(GROUP, approval.PLURAL, (*USER_READ, "create", "delete"), "a decision; delete takes one's own back"),
)
"""ClusterRole approval.ROLE. It is aggregated into nothing: whoever may edit must not thereby be able to approve."""


def rules(grants: tuple[Grant, ...]) -> list[Object]:
    """PolicyRules, one for each API group, set of verbs and set of names, in the table's order."""
    merged: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for grant in grants:
        merged.setdefault((grant.group, grant.verbs, grant.names), []).append(grant.resource)
    return [
        {"apiGroups": [group], "resources": resources}
        | ({"resourceNames": list(names)} if names else {})
        | {"verbs": list(verbs)}
        for (group, verbs, names), resources in merged.items()
    ]


def _role(name: str, entries: list[Object], **meta: Any) -> Object:
    return {"apiVersion": RBAC_API, "kind": "ClusterRole", "metadata": {"name": name} | meta, "rules": entries}


def _operator_binding() -> Object:
    return {
        "apiVersion": RBAC_API,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": OPERATOR_NAME},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": OPERATOR_NAME},
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR_NAME, "namespace": OPERATOR_NAMESPACE}],
    }


def _aggregated(name: str, plurals: tuple[str, ...], verbs: tuple[str, ...], into: tuple[str, ...]) -> Object:
    labels = {f"{RBAC_GROUP}/aggregate-to-{role}": "true" for role in into}
    entry = {"apiGroups": [GROUP], "resources": list(plurals), "verbs": list(verbs)}
    return _role(name, [entry], labels=labels)


def objects() -> list[Object]:
    """ServiceAccount, the operator's role with its binding, the one for Secrets without any, the users' aggregated
    roles, the approvers' role and that of who declares tenants."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": OPERATOR_NAME, "namespace": OPERATOR_NAMESPACE},
        },
        _role(OPERATOR_NAME, rules(OPERATOR)),
        _operator_binding(),
        _role(SECRETS_ROLE, rules(SECRETS)),
        _aggregated("kfleet-view", VIEWABLE, USER_READ, ("view", "edit", "admin")),
        _aggregated("kfleet-edit", EDITABLE, USER_WRITE, ("edit", "admin")),
        _role(approval.ROLE, rules(APPROVER)),
        _role(TENANT_EDITOR, rules(TENANTS)),
    ]
