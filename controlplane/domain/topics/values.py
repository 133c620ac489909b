"""Topics as Kafka has them, as objects declare them, and what is to be done about the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.domain.check import Check

ConfigValue = str | int | float | bool
"""A scalar as YAML gives it."""


@dataclass(frozen=True, slots=True)
class NewTopic:
    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]
    assignments: tuple[tuple[int, ...], ...] = ()
    """Broker ids by partition, the preferred leader first; () leaves it to Kafka."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How many partitions a topic is to have, and on which brokers the new ones are: as in NewTopic."""

    partitions: int
    assignments: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """`replicas` are broker ids by partition; `config` holds only what is set on the topic itself (dynamic configs)."""

    name: str
    topic_id: str
    replicas: tuple[tuple[int, ...], ...]
    config: Mapping[str, str]

    @property
    def partitions(self) -> int:
        return len(self.replicas)

    @property
    def replication_factor(self) -> int:
        """The least of any partition: a reassignment in flight adds replicas before it removes others."""
        return min((len(replicas) for replicas in self.replicas), default=0)


@dataclass(frozen=True, slots=True)
class DesiredTopic:
    """What one object asks for. `key` names the object, "namespace/name"; `created_at` is seconds since the epoch.

    `owned_keys` are the config keys that this object declared before, from its status: one that it no longer declares
    is reset, and keys nobody declared stay. A `paused` object keeps its name and is otherwise left alone. `tenant` is
    the one that it names; None for a topic of the cluster, which Kafka places. `refusal` says why nothing else of it
    counts.
    """

    key: str
    name: str
    partitions: int
    replicas: int
    config: Mapping[str, ConfigValue] = field(default_factory=dict)
    created_at: float = 0.0
    paused: bool = False
    owned_keys: frozenset[str] = frozenset()
    tenant: str | None = None
    refusal: Check | None = None

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """Bulk calls to make, by topic name, and what each object is to be told, by object key.

    `config` values are set, None resets a key. `owned` are the keys to record in an object's status *before* the calls:
    those declared and those still to be reset, so that a crash in between forgets none. `refusals` are failed checks;
    nothing of a refused object is in the calls. `unchanged` are objects whose topic is already as declared. `owners`
    are the objects that have a name, by it.
    """

    creates: tuple[NewTopic, ...] = ()
    grow: Mapping[str, Growth] = field(default_factory=dict)
    config: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    refusals: Mapping[str, Check] = field(default_factory=dict)
    owned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
