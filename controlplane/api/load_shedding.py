"""spec.loadShedding and status.loadShedding of a KafkaCluster."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field

from controlplane.api.base import ApiModel, Timestamp
from controlplane.api.rules import Duration, map_list, rule, rules

MAX_LEVEL = 3
MAX_SATURATED = 8
MAX_NODE_ID = 2**31 - 1

BOUNDS_CROSSED = (
    "spec.loadShedding.relaxedBelow: must be less than saturatedAbove: between the two nothing changes, and without "
    "anything between them the level would go up and down all the time"
)


class SheddingMode(StrEnum):
    """Whether load is shed."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class LoadShedding(ApiModel):
    """What is done when brokers have more requests than their request handlers can serve."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("duration(self.relaxedBelow) < duration(self.saturatedAbove)", BOUNDS_CROSSED),
        )
    )
    mode: SheddingMode = Field(
        SheddingMode.DISABLED,
        description="Enabled: brokers are watched, and while one is saturated rebalances are paused first, then "
        "tenants of priority Bulk get a part of their quotas, then those of priority Standard; never Critical ones. "
        "Disabled: nothing is watched, and what was shed is given back.",
    )
    saturated_above: Duration = Field(
        "200ms",
        description="A broker is saturated when a small request waits this much longer there than it does at rest.",
    )
    relaxed_below: Duration = Field(
        "50ms", description="The cluster is relaxed when a small request waits at most this much longer on any broker."
    )
    raise_after: Duration = Field(
        "30s", description="How long a broker must have been saturated before the next level is entered."
    )
    release_after: Duration = Field(
        "5m", description="How long the cluster must have been relaxed before one level is left."
    )
    tighten_to_percent: int = Field(
        25,
        ge=1,
        le=99,
        description="What a tenant is tightened to, in percent of its quotas; of a broker's request handlers where it "
        "has no quota for them.",
    )


class BrokerDelay(ApiModel):
    """How much longer than at rest a small request waits on one broker."""

    broker: int = Field(ge=0, le=MAX_NODE_ID, description="Its node id.")
    delay_milliseconds: int = Field(ge=0, description="The median of the latest samples, in steps of ten.")


class LoadSheddingStatus(ApiModel):
    """Written before anything is shed; what is shed follows from it alone."""

    level: int = Field(
        ge=0,
        le=MAX_LEVEL,
        description="0: nothing is shed. 1: rebalances are paused. 2: Bulk tenants are tightened as well. 3: Standard "
        "tenants too.",
    )
    since: Timestamp | None = Field(None, description="When this level was entered.")
    message: str = Field("", max_length=1024, description="Why it was entered.")
    saturation: tuple[BrokerDelay, ...] = Field(
        (),
        max_length=MAX_SATURATED,
        description="The slowest brokers, as of the last write: when the level changed, or a minute later at most "
        "while anything waits.",
        json_schema_extra=map_list("broker"),
    )
