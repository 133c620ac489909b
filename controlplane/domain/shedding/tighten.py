"""What a level means for the quotas of a tenant's user. Pure: the same layer from the same status, whoever asks when.

Only keys of which kfleet is the writer are tightened, so that taking the layer away restores exactly what was: what a
person set by hand beside kfleet stays as it is, tightened or not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_tenant import Priority
from controlplane.domain.shedding.ladder import Level
from controlplane.domain.users.quotas import CONSUMER, PRODUCER, REQUEST, Layer

SHED = "shed"
HANDLERS = "num.io.threads"
DEFAULT_HANDLERS = 8
"""Kafka's (org.apache.kafka.server.config.ServerConfigs)."""
LEAST_PERCENTAGE = 0.01
_BYTES = (PRODUCER, CONSUMER)
_TIGHTENED = {Priority.BULK: Level.BULK, Priority.STANDARD: Level.STANDARD}
"""The level at which tenants of a priority are tightened; Critical ones never are."""


@dataclass(frozen=True, slots=True)
class Shed:
    """What is shed in a cell at the moment. `percent` is what a tenant is tightened to, `handlers` are the request
    handlers of one broker."""

    level: Level = Level.NONE
    percent: int = 100
    handlers: int = DEFAULT_HANDLERS

    @classmethod
    def of(cls, cluster: KafkaCluster) -> Shed:
        """The level is that of the status: a spec that says Disabled lifts nothing before the status does."""
        recorded = cluster.status.load_shedding
        if recorded is None:
            return cls()
        return cls(Level(recorded.level), cluster.spec.load_shedding.tighten_to_percent, handlers(cluster))


NOTHING = Shed()


def handlers(cluster: KafkaCluster) -> int:
    """As declared; Kafka's default where it is not, or is no number that Kafka would take."""
    text = str(cluster.spec.config.get(HANDLERS, DEFAULT_HANDLERS))
    return max(1, int(text)) if text.isdecimal() else DEFAULT_HANDLERS


def is_tightened(level: Level, priority: Priority) -> bool:
    at = _TIGHTENED.get(priority)
    return at is not None and level >= at


def tightened(
    shed: Shed, priority: Priority, others: Mapping[str, float], *, users: int, untouched: Collection[str]
) -> Layer | None:
    """The layer of one of a tenant's `users`. `others` is the least of what all other layers say of it, by Kafka's key,
    and `untouched` are keys that somebody else has set.

    Byte rates are tightened where there is one. The time of request handlers is what a saturated broker lacks, and its
    whole is known: who has no quota for it gets a part of all of a broker's handlers, shared by the tenant's users.
    """
    if not is_tightened(shed.level, priority):
        return None
    part = shed.percent / 100
    whole = 100.0 * shed.handlers / max(1, users)
    values = {key: float(max(1, math.floor(others[key] * part))) for key in _BYTES if key in others}
    values[REQUEST] = max(LEAST_PERCENTAGE, round(min(whole, others.get(REQUEST, whole)) * part, 2))
    return Layer(SHED, {key: value for key, value in sorted(values.items()) if key not in untouched})
