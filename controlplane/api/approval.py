"""Approval: somebody's word on one plan, given once and never changed. The source of the CRD and its reference page.

That `approver` is the authenticated user and holds the verb `approve` on the target is decided when the object is
created (approval_policies); what it is worth for a plan is decided in reconcile (domain/operation/approval).
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field

from controlplane.api import kafka_cluster, kafka_rebalance
from controlplane.api.base import ApiModel, Metadata
from controlplane.api.group import API_VERSION
from controlplane.api.rules import map_list, rule, rules

KIND = "Approval"
PLURAL = "approvals"
SHORT_NAME = "kfa"

VERB = "approve"
"""The RBAC verb on the target's resource that an approver has to hold."""
ROLE = "kfleet-approver"
"""The ClusterRole that has it; nobody holds it until somebody binds it."""
TARGETS = {kafka_cluster.KIND: kafka_cluster.PLURAL, kafka_rebalance.KIND: kafka_rebalance.PLURAL}
"""Kinds whose plans can be approved, and the resource that VERB is granted on."""
TARGET_NAME_PATH = ".spec.targetRef.name"
"""Lists can be filtered by it: an old namespace holds many Approvals, and a plan that waits asks again and again."""
MAX_USER_NAME = 512
"""system:serviceaccount:<63>:<253> fits, and so does what identity providers call people."""

MAX_OVERRIDES = 16
HAZARD_ID_PATTERN = r"^([A-Z0-9]+(-[A-Z0-9]+)*)?$"

OVERRIDE_ID = "spec.overrides[].id: names the hazard of an override of type Hazard, and is empty for type Window"
OVERRIDES_OF_A_DENY = "spec.overrides: a Deny sets nothing aside; leave them out"
IMMUTABLE = "spec: immutable: a word once given stays as it was given; create another Approval"


class TargetKind(StrEnum):
    KAFKA_CLUSTER = kafka_cluster.KIND
    KAFKA_REBALANCE = kafka_rebalance.KIND


class ApprovalDecision(StrEnum):
    APPROVE = "Approve"
    DENY = "Deny"


class TargetRef(ApiModel):
    """The object whose plan it is, in the Approval's namespace."""

    kind: TargetKind = Field(description="Kind of the object.")
    name: str = Field(min_length=1, max_length=253, description="Its name, in this namespace.")
    uid: str = Field(min_length=1, max_length=64, description="Its uid: another object of the same name is not meant.")


class OverrideType(StrEnum):
    """What an Approve can set aside beside agreeing to the plan."""

    HAZARD = "Hazard"
    WINDOW = "Window"


class Override(ApiModel):
    """One thing that would keep the plan from going on, and that whoever approves takes upon themselves."""

    model_config = ConfigDict(json_schema_extra=rules(rule("(self.type == 'Hazard') == (self.id != '')", OVERRIDE_ID)))
    type: OverrideType = Field(description="Hazard: a known hazard is accepted; Window: it need not wait for one.")
    id: str = Field(
        "",
        max_length=64,
        pattern=HAZARD_ID_PATTERN,
        description="Which hazard, such as KAFKA-20732; empty for Window.",
        json_schema_extra={"default": ""},  # a key of the list below: Kubernetes wants one that is always there
    )


class ApprovalSpec(ApiModel):
    target_ref: TargetRef = Field(description="Whose plan it is.")
    plan_hash: str = Field(
        max_length=80,
        pattern="^sha256:[0-9a-f]{64}$",
        description="The plan, as status.operation.planHash has it. A changed plan has another hash and is not meant.",
    )
    decision: ApprovalDecision = Field(description="Approve, or Deny, which wins over every Approve of the same plan.")
    approver: str = Field(
        min_length=1,
        max_length=MAX_USER_NAME,
        description="Who says so: the authenticated user who creates the object, nobody else.",
    )
    reason: str = Field("", max_length=1024, description="Why, for people and for the ledger.")
    overrides: tuple[Override, ...] = Field(
        (),
        max_length=MAX_OVERRIDES,
        description="What the approver sets aside for this plan, and for no other.",
        json_schema_extra=map_list("type", "id"),
    )


class Approval(ApiModel):
    """A decision on the plan of one operation. `model_validate(obj)` reads an object as the API server sends it.

    It lets an operation begin that requires an approval, or keeps it from beginning. Its overrides set aside hazards
    and maintenance windows for that plan, whether or not an approval is required.
    """

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: ApprovalSpec = Field(
        description="What was decided. Immutable.",
        json_schema_extra=rules(
            rule("self == oldSelf", IMMUTABLE),
            rule(
                "!has(self.overrides) || size(self.overrides) == 0 || self.decision == 'Approve'", OVERRIDES_OF_A_DENY
            ),
        ),
    )
