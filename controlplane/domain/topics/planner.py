"""All topics of one cluster at once: declared objects and Kafka's topics in, bulk calls and refusals out. Pure.

- The oldest object wins a name (ties by key), whatever its state: a refused winner does not hand the topic on. One that
  has no right to the name (`Tenancy.no_right`) does not win it.
- An existing topic is adopted as it is; only declared config keys are owned, everything else on it stays.
- Partitions only grow; a replica change is refused. A refused object's topic is left alone altogether.
- The plan of a world in which the plan was carried out is empty, so a plan cut short by a crash is simply made again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from controlplane.domain.check import Check
from controlplane.domain.topics import config, rules
from controlplane.domain.topics.tenancy import Tenancy
from controlplane.domain.topics.values import DesiredTopic, Growth, NewTopic, TopicDescription, TopicPlan


def plan_topics(
    desired: Iterable[DesiredTopic],
    observed: Mapping[str, TopicDescription],
    brokers: int,
    tenancy: Tenancy | None = None,
) -> TopicPlan:
    """`observed` holds every topic of the cluster by name, `brokers` is how many can hold replicas. `tenancy` is of
    this pass alone."""
    plan = _Plan(observed, brokers, tenancy or Tenancy.none())
    for topic in sorted(desired, key=lambda topic: (topic.created_at, topic.key)):
        plan.add(topic)
    return plan.value()


def asks(topic: DesiredTopic, existing: TopicDescription | None) -> bool:
    """Whether it asks for anything that could be granted."""
    if existing is None or topic.partitions > existing.partitions:
        return True
    if rules.check_config(topic) is not None:
        return False
    return bool(config.changes(config.declared_text(topic.config), existing.config, topic.owned_keys))


class _Plan:
    """Takes objects oldest first. `names` are the topics that exist or are about to, by their name in metrics."""

    def __init__(self, observed: Mapping[str, TopicDescription], brokers: int, tenancy: Tenancy) -> None:
        self.observed, self.brokers, self.tenancy = observed, brokers, tenancy
        self.winners: dict[str, DesiredTopic] = {}
        self.names: dict[str, set[str]] = defaultdict(set)
        for name in observed:
            self.names[rules.metric_name(name)].add(name)
        self.creates: list[NewTopic] = []
        self.grow: dict[str, Growth] = {}
        self.config: dict[str, Mapping[str, str | None]] = {}
        self.unchanged: list[str] = []
        self.refusals: dict[str, Check] = {}
        self.owned: dict[str, tuple[str, ...]] = {}

    def value(self) -> TopicPlan:
        return TopicPlan(
            tuple(self.creates),
            self.grow,
            self.config,
            tuple(self.unchanged),
            self.refusals,
            self.owned,
            {name: winner.key for name, winner in self.winners.items()},
        )

    def add(self, topic: DesiredTopic) -> None:
        refusal = topic.refusal or self.tenancy.no_right(topic)
        if refusal is None and (winner := self.winners.setdefault(topic.name, topic)) is not topic:
            refusal = rules.name_taken(topic, winner)
        if topic.paused:
            return
        existing = self.observed.get(topic.name)
        refusal = refusal or self._refusal(topic, existing)
        if refusal is not None:
            self.refusals[topic.key] = refusal
        elif existing is None:
            self._create(topic)
        else:
            self._change(topic, existing)

    def _refusal(self, topic: DesiredTopic, existing: TopicDescription | None) -> Check | None:
        if (wrong := rules.check_name(topic.name) or rules.check_config(topic)) is not None:
            return wrong
        if existing is not None:
            wrong = rules.check_existing(topic, existing)
        else:
            collision = rules.check_collision(topic, self.names[rules.metric_name(topic.name)])
            wrong = rules.check_sizes(topic, self.brokers) or collision
        if wrong is not None or topic.tenant is None or not asks(topic, existing):
            return wrong
        return self.tenancy.no_room(topic, existing, _set_then(topic, existing))

    def _create(self, topic: DesiredTopic) -> None:
        declared = config.declared_text(topic.config)
        self.names[rules.metric_name(topic.name)].add(topic.name)
        placed = self.tenancy.take(topic, None, declared) if topic.tenant is not None else ()
        self.creates.append(NewTopic(topic.name, topic.partitions, topic.replicas, declared, placed))
        self.owned[topic.key] = tuple(sorted(declared))

    def _change(self, topic: DesiredTopic, existing: TopicDescription) -> None:
        declared = config.declared_text(topic.config)
        edits = config.changes(declared, existing.config, topic.owned_keys)
        grows = topic.partitions > existing.partitions
        placed: tuple[tuple[int, ...], ...] = ()
        if not grows and not edits:
            self.unchanged.append(topic.key)
        elif topic.tenant is not None:
            placed = self.tenancy.take(topic, existing, _set_then(topic, existing))
        if grows:
            self.grow[topic.name] = Growth(topic.partitions, placed)
        if edits:
            self.config[topic.name] = edits
        self.owned[topic.key] = tuple(sorted({*declared, *(key for key, value in edits.items() if value is None)}))


def _set_then(topic: DesiredTopic, existing: TopicDescription | None) -> dict[str, str]:
    """What is set on the topic once it is as declared."""
    before = existing.config if existing is not None else {}
    edits = config.changes(config.declared_text(topic.config), before, topic.owned_keys)
    return {key: value for key, value in {**before, **edits}.items() if value is not None}
