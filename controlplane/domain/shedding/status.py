"""status.loadShedding and the condition LoadShedding, from a level and what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.api import conditions as c
from controlplane.api.kafka_cluster import KafkaCluster, KafkaClusterStatus
from controlplane.api.load_shedding import MAX_SATURATED, BrokerDelay, LoadShedding, LoadSheddingStatus
from controlplane.domain.shedding.ladder import Level, worst_of

REASONS = {
    Level.NONE: "NotSaturated",
    Level.REBALANCES: "RebalancesPaused",
    Level.BULK: "BulkTightened",
    Level.STANDARD: "StandardTightened",
}
"""Of the condition, by level; and of the Event when a level is entered from below."""
MESSAGE_LIMIT = 1024
_STEP_MILLISECONDS = 10


def level_of(status: KafkaClusterStatus) -> Level:
    return Level(status.load_shedding.level) if status.load_shedding is not None else Level.NONE


def shedding_status(
    before: LoadSheddingStatus | None, level: Level, found: Mapping[int, float], spec: LoadShedding, now: float
) -> LoadSheddingStatus:
    """`found` are saturations by broker in seconds, `now` seconds since the epoch. When and why a level was entered
    stays as long as the level does."""
    figures = _figures(found)
    if before is not None and before.level == level:
        return before.model_copy(update={"saturation": figures})
    if before is None and level is Level.NONE:
        return LoadSheddingStatus(level=level, saturation=figures)
    raised = before is None or level > before.level
    message = _why_raised(found, spec) if raised else _why_released(spec)
    return LoadSheddingStatus(level=level, since=c.timestamp(now), message=message[:MESSAGE_LIMIT], saturation=figures)


def with_status(cluster: KafkaCluster, shedding: LoadSheddingStatus | None, now: float) -> KafkaClusterStatus:
    """The whole status with what is shed, and with its condition; without both where load is not shed (None)."""
    status = cluster.status
    conditions = status.conditions
    if shedding is None:
        conditions = tuple(one for one in conditions if one.type != c.LOAD_SHEDDING)
    else:
        conditions = c.set_condition(
            conditions,
            c.LOAD_SHEDDING,
            shedding.level > Level.NONE,
            REASONS[Level(shedding.level)],
            shedding.message,
            observed_generation=cluster.metadata.generation,
            now=now,
        )
    return status.model_copy(update={"conditions": conditions, "load_shedding": shedding})


def without_figures(shedding: LoadSheddingStatus | None) -> LoadSheddingStatus | None:
    """What is worth a write at once: figures move at every look."""
    return shedding.model_copy(update={"saturation": ()}) if shedding is not None else None


def _figures(found: Mapping[int, float]) -> tuple[BrokerDelay, ...]:
    """The slowest; none where nothing waits, so that a cluster at rest writes nothing."""
    steps = {
        broker: _STEP_MILLISECONDS * round(seconds * 1000 / _STEP_MILLISECONDS) for broker, seconds in found.items()
    }
    slowest = sorted((-delay, broker) for broker, delay in steps.items() if delay)[:MAX_SATURATED]
    return tuple(BrokerDelay(broker=broker, delay_milliseconds=-delay) for delay, broker in slowest)


def _why_raised(found: Mapping[int, float], spec: LoadShedding) -> str:
    worst = worst_of(found)
    told = f"On broker {worst[0]} requests wait {worst[1] * 1000:.0f} ms longer than at rest" if worst else "Saturated"
    return (
        f"{told}; some broker has been above spec.loadShedding.saturatedAbove ({spec.saturated_above}) for "
        f"{spec.raise_after}. A level is left after {spec.release_after} without any above relaxedBelow "
        f"({spec.relaxed_below})."
    )


def _why_released(spec: LoadShedding) -> str:
    return (
        f"Requests have waited on no broker for longer than spec.loadShedding.relaxedBelow ({spec.relaxed_below}) for "
        f"{spec.release_after}."
    )
