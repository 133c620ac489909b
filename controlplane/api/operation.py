"""An operation in the status of the object that asked for it: what the engine for steps needs to go on after a kill.

Before an action its step and intent are written with the object's resourceVersion; then the action; then an
observation; then the outcome goes to the journal and the intent is removed. An intent that is present therefore means:
the action may or may not have happened, look at the world.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from controlplane.api.base import ApiModel, CamelCase, Timestamp
from controlplane.api.conditions import Condition
from controlplane.api.rules import map_list

JOURNAL_LIMIT = 256
"""Entries kept in status while the ledger has not taken them; an operation whose journal is full begins no new step."""
JOURNAL_KEPT = 16
"""Newest entries that stay in status after the ledger has taken them, for people."""
STEPS_LIMIT = 512
INLINE_PLAN_BYTES = 64 * 1024
"""A frozen plan whose steps are larger than this as JSON lives in ConfigMaps (`planRef`)."""
ALREADY_DONE_RANGES = 256
REPLICAS_OUT_TOPICS = 500
REPLICAS_OUT_PARTITIONS = 4000

Mode = Literal["Frozen", "Replanned"]
Outcome = Literal["Succeeded", "Failed", "RolledBack", "Superseded", "Cancelled", "Denied"]
Risk = Literal["Safe", "Disruptive", "Destructive"]
Direction = Literal["Forward", "Back"]
Recorded = Literal["No", "Begun", "Ended"]


class StepCheck(ApiModel):
    """A check that failed, as it stands in a status: what a step waits for, or what stopped it."""

    name: CamelCase = Field(description="Which check, such as ReassignmentInFlight; `kfleet explain NAME` has more.")
    evidence: str = Field("", max_length=1024, description="What was seen.")
    remedy: str = Field("", max_length=512, description="What would help.")


class OperationStep(ApiModel):
    id: int = Field(ge=1, description="Counts the steps of this operation from 1.")
    verb: CamelCase = Field(description="What is done, such as ReplacePod or FinaliseMetadata.")
    target: str = Field("", max_length=253, description="What it is done to, such as a node id.")
    why: str = Field("", max_length=1024, description="Why this step is the next one.")
    risk: Risk = Field("Safe", description="Safe, Disruptive (clients may notice) or Destructive (data may go).")
    inverse: str = Field("", max_length=64, description="Verb that undoes it when the operation fails or is cancelled.")
    parameters: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict, max_length=32, description="What the verb needs to know beside its target."
    )
    checks: tuple[StepCheck, ...] = Field(
        (),
        max_length=16,
        description="Failed checks: what this step waits for.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class OperationIntent(ApiModel):
    """Present from just before an action until its outcome has been observed."""

    uid: str = Field("", max_length=64, description="uid of the object acted on, as it was before the action.")
    resource_version: str = Field("", max_length=64, description="Its resourceVersion before the action.")
    at: Timestamp = Field(description="When the intent was written.")


class ReplicasOut(ApiModel):
    """Partitions of one topic in whose in-sync replicas a node was missing before it was stopped."""

    node: int = Field(ge=0, description="The node that was stopped.")
    topic: str = Field(max_length=249, description="Name of the topic.")
    partitions: Annotated[
        tuple[int, ...],
        Field(max_length=REPLICAS_OUT_PARTITIONS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(description="Partition numbers.")


class JournalEntry(ApiModel):
    step: int = Field(ge=1, description="Id of the step.")
    attempt: int = Field(1, ge=1, description="Which attempt at it.")
    verb: CamelCase = Field(description="What was done.")
    target: str = Field("", max_length=253, description="What it was done to.")
    outcome: CamelCase = Field(description="What was observed afterwards, such as Done or Failed.")
    at: Timestamp = Field(description="When the outcome was written.")
    message: str = Field("", max_length=1024, description="Anything a person should know about it.")
    risk: Risk = Field("Safe", description="The step's risk.")
    delivered: bool = Field(False, description="The ledger has taken it, under (uid, operation, step, attempt).")


class PlanRef(ApiModel):
    """Where the steps of a plan lie that is too large for a status: immutable ConfigMaps in the object's namespace."""

    config_maps: Annotated[
        tuple[Annotated[str, Field(max_length=253)], ...],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(description="Their names, in the order in which their contents follow one another.")
    steps: int = Field(ge=0, description="How many steps the plan has.")


class OperationEnding(ApiModel):
    """Set when a frozen operation turns back: how it ends once what was begun has been undone."""

    outcome: Outcome = Field(description="How the operation ends, at best.")
    why: StepCheck = Field(description="What made it turn back.")
    turned_at: int = Field(ge=0, description="Id of the last step that was begun; 0 when none was.")


class Operation(ApiModel):
    """One operation, under way (`outcome` absent) or the last one that ended."""

    id: str = Field(max_length=64, description="Identifies the operation in Events, logs and the ledger.")
    kind: CamelCase = Field(description="What sort of operation it is, such as Roll.")
    mode: Mode = Field(
        "Replanned",
        description="Replanned: each step is planned from a new observation; Frozen: the steps of the plan or none.",
    )
    plan_hash: str = Field(
        "", max_length=80, description="SHA-256 of goal, constraints and gates, and of the steps when they are frozen."
    )
    goal: str = Field(max_length=1024, description="What will be true at the end, such as 'version 4.3.1'.")
    started_at: Timestamp = Field(description="When the operation began.")
    step: OperationStep | None = Field(None, description="The step under way, or the last one taken.")
    attempt: int = Field(1, ge=1, description="Which attempt at that step.")
    direction: Direction = Field("Forward", description="Back: steps that were done are being undone, last one first.")
    steps: tuple[OperationStep, ...] = Field(
        (),
        max_length=STEPS_LIMIT,
        description="The steps of a frozen plan that fits into a status.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    plan_ref: PlanRef | None = Field(None, description="Where the steps of a larger frozen plan lie.")
    constraints: str = Field(
        "", max_length=8192, description="What a frozen plan has to keep, as canonical JSON; the hash covers it."
    )
    gates: tuple[CamelCase, ...] = Field(
        (),
        max_length=64,
        description="Checks that can stop a frozen plan; the hash covers them.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    already_done: tuple[Annotated[str, Field(max_length=24)], ...] = Field(
        (),
        max_length=ALREADY_DONE_RANGES,
        description="Steps that were found done and are not undone, as ranges such as 3 or 5-9, in order.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    ending: OperationEnding | None = Field(None, description="Present while steps are being undone, and afterwards.")
    requested_by: str = Field(
        "", max_length=253, description="Who stood as its requester when its plan first appeared."
    )
    approval: str = Field("", max_length=253, description="Name of the Approval that let it begin.")
    intent: OperationIntent | None = Field(None, description="Present while the outcome of the step is not known.")
    replicas_out_before: tuple[ReplicasOut, ...] = Field(
        (),
        max_length=REPLICAS_OUT_TOPICS,
        description="Replicas that were out of sync before their node was stopped; not waited for.",
        json_schema_extra=map_list("node", "topic"),
    )
    soak_since: Timestamp | None = Field(None, description="Since when all nodes have been back on the new version.")
    message: str = Field("", max_length=4096, description="What the operation waits for, or how it ended.")
    outcome: Outcome | None = Field(None, description="How it ended; absent while it is under way.")
    ended_at: Timestamp | None = Field(None, description="When it ended.")
    journal: tuple[JournalEntry, ...] = Field(
        (),
        max_length=JOURNAL_LIMIT,
        description="Outcomes that the ledger has not taken yet, and the newest that it has; oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    recorded: Recorded = Field("No", description="What the ledger knows of the operation itself.")


class OperationStatus(ApiModel):
    """What every kind that runs operations has in its status; the engine reads and writes it there."""

    conditions: tuple[Condition, ...] = Field(
        (),
        max_length=16,
        description="Ready, and what else this kind tells (docs/reference).",
        json_schema_extra=map_list("type"),
    )
    observed_generation: int | None = Field(None, ge=0, description="The generation this status is about.")
    operation: Operation | None = Field(None, description="The operation under way; absent when there is none.")
    last_operation: Operation | None = Field(None, description="The operation that ended last.")
