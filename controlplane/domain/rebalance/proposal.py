"""What a rebalance will do, as a value: goals make it, the executor carries it out and knows nothing of goals.

The split is Cruise Control's (analyzer and executor); the JSON is that of `kafka-reassign-partitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.domain.observation import TopicPartition


@dataclass(frozen=True, slots=True)
class PartitionMove:
    """One partition's replicas before and after, the preferred leader first. `size` is one replica's, in bytes."""

    topic: str
    partition: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    size: int = 0

    @property
    def id(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def adding(self) -> frozenset[int]:
        return frozenset(self.after) - frozenset(self.before)

    @property
    def removing(self) -> frozenset[int]:
        return frozenset(self.before) - frozenset(self.after)


@dataclass(frozen=True, slots=True)
class Proposal:
    """`moves` change something each, at most one a partition, ordered by topic and partition.

    `bound` is a proven lower bound on `replicas_moved` for this goal and these constraints; they are equal where the
    proposal is optimal. `bytes_bound` is one on `bytes_moved`, where the goal is to move the fewest bytes.
    """

    moves: tuple[PartitionMove, ...]
    bound: int
    bytes_bound: int | None = None

    @property
    def replicas_moved(self) -> int:
        """Replicas that are copied to a broker that has none: what a rebalance costs. A new order alone costs none."""
        return sum(len(move.adding) for move in self.moves)

    @property
    def bytes_moved(self) -> int:
        return sum(move.size * len(move.adding) for move in self.moves)

    @property
    def gap(self) -> int:
        return self.replicas_moved - self.bound

    def reassignment(self) -> Mapping[str, Any]:
        """As `kafka-reassign-partitions --reassignment-json-file` takes it."""
        return {
            "version": 1,
            "partitions": [
                {"topic": move.topic, "partition": move.partition, "replicas": list(move.after)} for move in self.moves
            ],
        }
