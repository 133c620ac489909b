"""How a cluster is rolled, and when: `spec.rollout` and `spec.maintenanceWindows` of KafkaCluster."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt

from controlplane.api.base import ApiModel
from controlplane.api.rules import Duration
from controlplane.api.schedule import Cron, TimeZone

PERCENT_PATTERN = r"^([1-9][0-9]?|100)%$"


class UnprotectedPartitions(StrEnum):
    """What to do about partitions whose replication factor does not let a broker stop (RF <= min ISR)."""

    BLOCK = "Block"
    ACCEPT = "Accept"
    MOVE_AWAY = "MoveAway"


class OnFault(StrEnum):
    """What to do about a fault that an upgrade has brought, while there is a way back."""

    ROLL_BACK = "RollBack"
    HOLD = "Hold"


class Canary(StrEnum):
    """Whether the operator writes a few records of its own during an upgrade."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class ApprovalPolicy(StrEnum):
    """Whether somebody other than who asked for a change has to approve it before it begins."""

    REQUIRED = "Required"
    NOT_REQUIRED = "NotRequired"


class BatchBy(StrEnum):
    """What the brokers of one batch have in common."""

    RACK = "Rack"


def _unavailable(value: int | str) -> int | str:
    if isinstance(value, int) and value < 1:
        raise ValueError("must be at least 1, or a percentage such as 25%")
    if isinstance(value, str) and not re.fullmatch(PERCENT_PATTERN, value):
        raise ValueError(f"{value!r} is neither a number nor a percentage from 1% to 100%, such as 25%")
    return value


MaxUnavailable = Annotated[
    StrictInt | str,
    Field(json_schema_extra={"pattern": PERCENT_PATTERN, "maxLength": 4, "minimum": 1}),
    AfterValidator(_unavailable),
]


class Rollout(ApiModel):
    """How the cluster is rolled."""

    soak: Duration = Field(
        "30m",
        description="How long all nodes must have been back on a new version before metadata.version is finalised, "
        "after which there is no way back.",
    )
    unprotected_partitions: UnprotectedPartitions = Field(
        UnprotectedPartitions.BLOCK,
        description="Partitions whose replication factor does not let a broker stop: Block the roll, Accept that "
        "they are unavailable while their broker restarts, or MoveAway: before brokers are restarted, a KafkaRebalance "
        "moves those replicas to other brokers, where they stay.",
    )
    batch_by: BatchBy = Field(
        BatchBy.RACK, description="Rack: brokers that are restarted together are all in one rack (zone)."
    )
    max_unavailable: MaxUnavailable = Field(
        1,
        description="How many brokers may be restarted together, as far as no partition falls below its min ISR: a "
        "number, or a percentage of the cluster's brokers such as 25% (rounded down, at least 1). Controllers and "
        "combined nodes, and brokers without a zone, are always restarted one at a time.",
    )
    approval: ApprovalPolicy = Field(
        ApprovalPolicy.NOT_REQUIRED,
        description="Required: a roll begins once somebody other than its requester has approved its plan; taking the "
        "requirement away takes the verb `approve`.",
    )
    on_fault: OnFault = Field(
        OnFault.ROLL_BACK,
        description="What happens when an upgrade brings a fault before metadata.version is finalised. RollBack: where "
        "the fault is confined to nodes that run the new version and there is a way back, every node goes back to the "
        "version that ran before, inside and outside maintenance windows. Hold: nothing further is stopped. Other "
        "faults hold in any case.",
    )
    fault_after: Duration = Field(
        "10m",
        description="How long something must have been wrong with an upgrade to count as a fault: nodes that do not "
        "come back, replicas out, partitions offline or under min ISR, voters behind, the canary's errors and latency, "
        "consumer lag that grows. A node of the new version that crashes or cannot start counts after 1m if that is "
        "less.",
    )
    canary: Canary = Field(
        Canary.ENABLED,
        description="Enabled: while an upgrade is under way the operator writes a record a second to each broker, "
        "into a topic of its own (__kfleet_canary, deleted afterwards), and compares errors and latency with those "
        "before. Disabled: it only looks at partitions, nodes and consumer lag.",
    )
    retry_token: str = Field(
        "",
        max_length=64,
        description="Any new value tries an upgrade again that was rolled back; so does a spec that asks for something "
        "else.",
    )


class MaintenanceWindow(ApiModel):
    """When something disruptive may be begun: from each time of the schedule on, for the duration."""

    schedule: Cron = Field(
        description="When it opens, as cron's five fields (minute, hour, day of month, month, day of week), such as "
        "0 2 * * 6. A time that daylight saving skips comes right after the gap; one that it repeats comes once.",
    )
    duration: Duration = Field(description="How long it stays open, at least 1m, such as 4h.")
    time_zone: TimeZone = Field("UTC", description="Time zone of the schedule, such as Europe/Berlin.")
