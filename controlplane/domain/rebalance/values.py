"""What a rebalance is planned from: partitions, brokers, a goal; and the answer when it cannot be met. Values, no more.

Whatever the goal, a proposal never breaks these constraints:

1. A partition has at most one replica on a broker, and none on a broker where it is not allowed, but what it has there
   already and the goal does not speak of.
2. A partition has replicas in as many racks as before, as far as its brokers still have that many; `Balance`,
   `BalanceBytes` and `Racks` give it as many as it can have.
3. No broker holds more bytes than its capacity, where capacities are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from controlplane.domain.observation import TopicPartition


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition as it is: `replicas` with the preferred leader first, `size` of one replica in bytes.

    `allowed`: the brokers it may have replicas on (a tenant's shard); None means all of them. `min_isr` is the
    effective one; only `MoveAway` asks for it.
    """

    topic: str
    partition: int
    replicas: tuple[int, ...]
    size: int = 0
    min_isr: int = 1
    allowed: frozenset[int] | None = None

    @property
    def id(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that may have replicas. Its fair share is in proportion to `weight`; `capacity` is in bytes.

    Either all brokers have racks or none has.
    """

    id: int
    rack: str | None = None
    weight: float = 1.0
    capacity: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """All partitions of a cluster, those that a goal leaves alone too: they are load. In any order; no plan depends
    on it."""

    partitions: tuple[Partition, ...]

    @staticmethod
    def of(partitions: Iterable[Partition]) -> Assignment:
        return Assignment(tuple(partitions))


@dataclass(frozen=True, slots=True)
class Balance:
    """Every broker's number of replicas within one of its fair share, every partition in as many racks as it can be;
    also how new brokers get their part. Fewest moves."""


@dataclass(frozen=True, slots=True)
class BalanceBytes:
    """Every broker's bytes within `tolerance` (0.1 is ten per cent) of its fair share. Fewest bytes moved."""

    tolerance: float = 0.1


@dataclass(frozen=True, slots=True)
class Leaders:
    """Every broker's number of preferred leaders within one of its fair share, by a new order of replicas alone: no
    data moves. Fewest partitions reordered."""


@dataclass(frozen=True, slots=True)
class Drain:
    """No replica on these brokers."""

    brokers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Racks:
    """Every partition in as many racks as it can be. Fewest moves."""


@dataclass(frozen=True, slots=True)
class MoveTo:
    """The partitions of these topics on these brokers only, those of them that they are allowed on: a tenant moves to
    its shard."""

    brokers: frozenset[int]
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class ChangeReplicas:
    """The partitions of these topics with this many replicas; None means all topics. Whatever has to change has nothing
    on brokers that are `leaving` afterwards."""

    replicas: int
    topics: frozenset[str] | None = None
    leaving: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class MoveAway:
    """No replica on these brokers of a partition that cannot spare one (RF <= min ISR): they are to be restarted."""

    brokers: frozenset[int]


Goal = Balance | BalanceBytes | Leaders | Drain | Racks | MoveTo | ChangeReplicas | MoveAway


class Constraint(Enum):
    """What a goal comes up against."""

    INPUT = "Input"
    REPLICAS = "Replicas"
    CAPACITY = "Capacity"


@dataclass(frozen=True, slots=True)
class Shortage:
    """One constraint that cannot be met. `message` says what is wrong and what to do; `needed` and `available` are in
    the constraint's unit (brokers, bytes), 0 where there is nothing to count."""

    constraint: Constraint
    subject: str
    message: str
    needed: int = 0
    available: int = 0

    @property
    def missing(self) -> int:
        return self.needed - self.available


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Nothing is proposed, not even a part: why, at least one reason. `proven`: no plan exists; otherwise none was
    found (capacities with partitions of different sizes are a packing problem)."""

    shortages: tuple[Shortage, ...]
    proven: bool = True

    def __str__(self) -> str:
        return "; ".join(shortage.message for shortage in self.shortages)
