"""Who may approve, and who asked: two in-tree ValidatingAdmissionPolicies, so that no webhook of ours is needed.

`APPROVER_POLICY`: an Approval is created in one's own name by somebody who holds the verb `approve` on its target, and
is taken back by nobody else. `REQUESTER_POLICY`: where a KafkaCluster requires approvals, or has maintenance windows
that an Approval can waive, whoever changes the spec stands in its annotation `requested-by`; and the requirement (or
the cluster with it) goes only with the verb `approve`. Windows are changed by whoever may edit the cluster.
`REBALANCE_POLICY`: whoever creates a KafkaRebalance that requires an approval stands in that annotation, for good.

The API server knows who is asking; an operator that reads the objects later does not. What reconcile checks beyond
this, and that these policies are in force, is in domain/operation/approval and services/operation/approvals.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from controlplane.api import approval, kafka_cluster, kafka_rebalance
from controlplane.api.group import GROUP, VERSION
from controlplane.api.names import REQUESTED_BY
from controlplane.api.rollout import ApprovalPolicy

Object = dict[str, Any]

ADMISSION_GROUP = "admissionregistration.k8s.io"
ADMISSION_API = f"{ADMISSION_GROUP}/v1"
APPROVER_POLICY = f"approval-approver.{GROUP}"
REQUESTER_POLICY = f"kafkacluster-requester.{GROUP}"
REBALANCE_POLICY = f"kafkarebalance-requester.{GROUP}"
ENFORCING = {
    kafka_cluster.KIND: (APPROVER_POLICY, REQUESTER_POLICY),
    kafka_rebalance.KIND: (APPROVER_POLICY, REBALANCE_POLICY),
}
"""By the kind of an Approval's target: policies (and bindings of the same names) without which it proves nothing."""

_COLLECTORS = ("system:serviceaccount:kube-system:generic-garbage-collector", "system:kube-controller-manager")
"""Who removes what belongs to an object that is gone; the second where controllers share one identity."""
_GOING = f"(has(namespaceObject.metadata.deletionTimestamp) || request.userInfo.username in {json.dumps(_COLLECTORS)})"
"""A namespace's end, and a target's, never wait for a person."""

_ROLE = f"ClusterRole {approval.ROLE} has it"


def bound(name: str, spec: Object) -> list[Object]:
    """A policy and its binding, which has the same name and denies."""
    return [
        {
            "apiVersion": ADMISSION_API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {"failurePolicy": "Fail"} | spec,
        },
        {
            "apiVersion": ADMISSION_API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def matching(plural: str, operations: Sequence[str]) -> Object:
    """matchConstraints for one namespaced resource of ours; its subresources (status) are not meant."""
    rule = {
        "apiGroups": [GROUP],
        "apiVersions": [VERSION],
        "operations": list(operations),
        "resources": [plural],
        "scope": "Namespaced",
    }
    return {"resourceRules": [rule]}


def policies() -> list[Object]:
    return [
        *bound(APPROVER_POLICY, _approver()),
        *bound(REQUESTER_POLICY, _requester()),
        *bound(REBALANCE_POLICY, _rebalance_requester()),
    ]


def _variables(**expressions: str) -> list[Object]:
    return [{"name": name, "expression": expression} for name, expression in expressions.items()]


def _validation(expression: str, message: str, says: str, reason: str) -> Object:
    """`message` is what is shown when `says` (CEL) cannot be evaluated."""
    return {"expression": expression, "message": message, "messageExpression": says, "reason": reason}


def _may_approve(resource: str, name: str) -> str:
    """CEL: the user of this request holds the verb on the named object, in the request's namespace."""
    check = f"authorizer.group('{GROUP}').resource({resource}).namespace(request.namespace).name({name})"
    return f"{check}.check('{approval.VERB}').allowed()"


_YOU = "request.userInfo.username"


def _approver() -> Object:
    approver = "variables.approval.spec.approver"
    what = f"variables.resource + '.{GROUP} ' + request.namespace + '/' + variables.target.name"
    return {
        "matchConstraints": matching(approval.PLURAL, ("CREATE", "DELETE")),
        "variables": _variables(
            approval="request.operation == 'DELETE' ? oldObject : object",
            target="variables.approval.spec.targetRef",
            resource=f"{json.dumps(approval.TARGETS)}[variables.target.kind]",
            going=f"request.operation == 'DELETE' && {_GOING}",
        ),
        "validations": [
            _validation(
                f"variables.going || {approver} == {_YOU}",
                "spec.approver: must be the authenticated user",
                f"'spec.approver: is \"' + {approver} + '\" and the authenticated user is \"' + {_YOU} + '\": '"
                " + (request.operation == 'DELETE' ? 'an Approval is taken back by who gave it'"
                " : 'an Approval is given in one\\'s own name')",
                "Forbidden",
            ),
            _validation(
                f"variables.going || {_may_approve('variables.resource', 'variables.target.name')}",
                f"spec.targetRef: the authenticated user lacks the verb {approval.VERB} on it",
                f"'spec.targetRef: \"' + {_YOU} + '\" lacks the verb {approval.VERB} on ' + {what} + ' ({_ROLE})'",
                "Forbidden",
            ),
        ],
    }


def _required(obj: str) -> str:
    """CEL: plans of this KafkaCluster require an approval."""
    return (
        f"has({obj}.spec) && has({obj}.spec.rollout) && has({obj}.spec.rollout.approval)"
        f" && {obj}.spec.rollout.approval == '{ApprovalPolicy.REQUIRED}'"
    )


def _windowed(obj: str) -> str:
    """CEL: this KafkaCluster has maintenance windows, which an Approval by somebody else than who asked can waive."""
    return f"has({obj}.spec) && has({obj}.spec.maintenanceWindows) && size({obj}.spec.maintenanceWindows) > 0"


def _concerned(obj: str) -> str:
    return f"(({_required(obj)}) || ({_windowed(obj)}))"


def _asked(obj: str) -> str:
    key = f"'{REQUESTED_BY}'"
    return (
        f"has({obj}.metadata.annotations) && {key} in {obj}.metadata.annotations"
        f" ? {obj}.metadata.annotations[{key}] : ''"
    )


def _requester() -> Object:
    field = f"metadata.annotations[{REQUESTED_BY}]"
    may = _may_approve(f"'{kafka_cluster.PLURAL}'", "oldObject.metadata.name")
    lacks = f"takes the verb {approval.VERB} of {kafka_cluster.PLURAL}.{GROUP} ({_ROLE}), which "
    return {
        "matchConstraints": matching(kafka_cluster.PLURAL, ("CREATE", "UPDATE", "DELETE")),
        "matchConditions": [
            {
                "name": "requires-or-required-an-approval-or-has-or-had-windows",
                "expression": f"(request.operation != 'DELETE' && {_concerned('object')})"
                f" || (request.operation != 'CREATE' && {_concerned('oldObject')})",
            }
        ],
        "variables": _variables(
            asks="request.operation == 'CREATE' || (request.operation == 'UPDATE' && object.spec != oldObject.spec)",
            asked=f"request.operation == 'DELETE' ? '' : ({_asked('object')})",
            before=f"request.operation == 'CREATE' ? '' : ({_asked('oldObject')})",
        ),
        "validations": [
            _validation(
                f"!variables.asks || variables.asked == {_YOU}"
                f" || (variables.asked == '' && request.operation != 'DELETE' && !({_required('object')}))",
                f"{field}: must be the authenticated user, who changes the spec",
                f"'{field}: must be \"' + {_YOU} + '\" (it is \"' + variables.asked + '\"): spec.rollout.approval is"
                " Required or spec.maintenanceWindows is set, so nobody but who changes the spec stands there, set in"
                " the same request'",
                "Invalid",
            ),
            _validation(
                "request.operation != 'UPDATE' || variables.asks || variables.asked == variables.before",
                f"{field}: changes only together with the spec",
                f"'{field}: is \"' + variables.before + '\", who asked for the spec as it stands, and changes only"
                " together with the spec'",
                "Invalid",
            ),
            _validation(
                f"request.operation != 'UPDATE' || !({_required('oldObject')}) || ({_required('object')}) || {may}",
                f"spec.rollout.approval: taking Required away {lacks}the authenticated user lacks",
                f"'spec.rollout.approval: taking Required away {lacks}\"' + {_YOU} + '\" lacks'",
                "Forbidden",
            ),
            _validation(
                f"request.operation != 'DELETE' || !({_required('oldObject')}) || {_GOING} || {may}",
                f"spec.rollout.approval: is Required, so deleting the cluster {lacks}the authenticated user lacks",
                f"'spec.rollout.approval: is Required, so deleting the cluster {lacks}\"' + {_YOU} + '\" lacks'",
                "Forbidden",
            ),
        ],
    }


def _rebalance_requester() -> Object:
    """Its spec never changes, so who asked is who created it."""
    field = f"metadata.annotations[{REQUESTED_BY}]"
    required = f"!has(object.spec.approval) || object.spec.approval == '{ApprovalPolicy.REQUIRED}'"  # the CRD's default
    return {
        "matchConstraints": matching(kafka_rebalance.PLURAL, ("CREATE", "UPDATE")),
        "matchConditions": [{"name": "requires-an-approval", "expression": required}],
        "variables": _variables(
            asked=_asked("object"),
            before=f"request.operation == 'CREATE' ? '' : ({_asked('oldObject')})",
        ),
        "validations": [
            _validation(
                f"request.operation != 'CREATE' || variables.asked == {_YOU}",
                f"{field}: must be the authenticated user, who creates it",
                f"'{field}: must be \"' + {_YOU} + '\" (it is \"' + variables.asked + '\"): spec.approval is Required,"
                " so nobody but who creates it stands there'",
                "Invalid",
            ),
            _validation(
                "request.operation != 'UPDATE' || variables.asked == variables.before",
                f"{field}: never changes",
                f"'{field}: is \"' + variables.before + '\", who asked for it, and never changes'",
                "Invalid",
            ),
        ],
    }
