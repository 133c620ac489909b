"""What is known of one cell when its tenants are planned, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.api.kafka_tenant import TenantCellStatus
from controlplane.domain.observation import PartitionObservation, TopicPartition
from controlplane.domain.placement.values import Fleet, Shard
from controlplane.domain.rebalance.asked import MoveState
from controlplane.domain.tenants.directory import Cell


@dataclass(frozen=True, slots=True)
class Move:
    """A KafkaRebalance that was made for a tenant. `generation` is the tenant's that asked for it; `reason` and
    `message` say what it waits for or how it ended, at `ended_at` (seconds since the epoch)."""

    name: str
    tenant: str
    state: MoveState
    generation: int
    reason: str = ""
    message: str = ""
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell at one moment.

    `fleet` are the brokers that are declared and that Kafka knows, with their zones; those that are to leave are not in
    it. `down` are brokers of it that do not serve. `sizes` are bytes of one replica, None where nobody asked for them.
    `moves` by name were read before `partitions`. `refused` are moves that could not be created, and why.
    """

    cell: Cell
    fleet: Fleet
    down: frozenset[int]
    partitions: Sequence[PartitionObservation]
    sizes: Mapping[TopicPartition, int] | None = None
    moves: Mapping[str, Move] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """A KafkaRebalance to create: these topics on these brokers only. Its name is a function of what it is for, so that
    an operator that is killed makes no second one."""

    name: str
    tenant: str
    generation: int
    brokers: Shard
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tenant in this cell: what to record, None to forget it there; then what to create. `look_at` is when something
    changes by time alone, seconds since the epoch."""

    status: TenantCellStatus | None
    create: MoveRequest | None = None
    look_at: float | None = None
