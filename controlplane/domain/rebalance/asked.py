"""KafkaRebalances that kfleet makes itself, for a tenant whose shard moves or for a cluster: how they stand. Pure.

Whoever asks gives one a name that is a function of what it is for, so that an operator that is killed makes no second
one, and reads how it stands before it looks at the brokers: one that was done by then has left its replicas where they
are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.api import conditions as c
from controlplane.api.kafka_rebalance import GoalType

INFEASIBLE = "GoalInfeasible"
SETTLE_SECONDS = 5.0
"""A broker's metadata follows the controller: for so long a KafkaRebalance that says it is done is believed over it."""


class MoveState(StrEnum):
    UNDER_WAY = "UnderWay"
    INFEASIBLE = "Infeasible"
    """There is no plan for it as things are: it waits until they change, which may be never."""
    COMPLETE = "Complete"
    FAILED = "Failed"
    """Denied, cancelled or failed: it has undone what it did."""


@dataclass(frozen=True, slots=True)
class MoveStanding:
    """`reason` and `message` say what it waits for or how it ended, at `ended_at` (seconds since the epoch)."""

    state: MoveState
    reason: str = ""
    message: str = ""
    ended_at: float = 0.0

    @property
    def over(self) -> bool:
        return self.state in {MoveState.COMPLETE, MoveState.FAILED}


def standing_of(conditions: Sequence[c.Condition]) -> MoveStanding:
    complete, failed = c.find_condition(conditions, c.COMPLETE), c.find_condition(conditions, c.FAILED)
    for state, ended in ((MoveState.COMPLETE, complete), (MoveState.FAILED, failed)):
        if ended is not None and ended.status == "True":
            return MoveStanding(state, ended.reason, ended.message, c.seconds(ended.last_transition_time))
    proposed = c.find_condition(conditions, c.PROPOSED)
    if proposed is not None and (proposed.status, proposed.reason) == ("False", INFEASIBLE):
        return MoveStanding(MoveState.INFEASIBLE, proposed.reason, proposed.message)
    return MoveStanding(
        MoveState.UNDER_WAY,
        complete.reason if complete is not None else "",
        complete.message if complete is not None else "",
    )


@dataclass(frozen=True, slots=True)
class AskedMove:
    """A KafkaRebalance that a cluster's own operation has asked for, or a Drain that a person has.

    `operation` is the id of who asked, "" for a person; `brokers` what it empties. `begun`: it has moved something, or
    may have. `uid` and `resource_version` are those that were read.
    """

    name: str
    operation: str
    goal: GoalType
    brokers: tuple[int, ...]
    standing: MoveStanding
    uid: str
    resource_version: str
    begun: bool = False
