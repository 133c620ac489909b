"""All topics of one cluster at once: declared objects and Kafka's topics in, bulk calls and refusals out. Pure.

- The oldest object wins a name (ties by key), whatever its state: a refused winner does not hand the topic on.
- An existing topic is adopted as it is; only declared config keys are owned, everything else on it stays.
- Partitions only grow; a replica change is refused. A refused object's topic is left alone altogether.
- The plan of a world in which the plan was carried out is empty, so a plan cut short by a crash is simply made again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from controlplane.domain.check import Check
from controlplane.domain.topics import config, rules
from controlplane.domain.topics.values import DesiredTopic, NewTopic, TopicDescription, TopicPlan


def plan_topics(desired: Iterable[DesiredTopic], observed: Mapping[str, TopicDescription], brokers: int) -> TopicPlan:
    """`observed` holds every topic of the cluster by name, `brokers` is how many can hold replicas."""
    plan = _Plan(observed, brokers)
    for topic in sorted(desired, key=lambda topic: (topic.created_at, topic.key)):
        plan.add(topic)
    return plan.value()


class _Plan:
    """Takes objects oldest first. `names` are the topics that exist or are about to, by their name in metrics."""

    def __init__(self, observed: Mapping[str, TopicDescription], brokers: int) -> None:
        self.observed, self.brokers = observed, brokers
        self.winners: dict[str, DesiredTopic] = {}
        self.names: dict[str, set[str]] = defaultdict(set)
        for name in observed:
            self.names[rules.metric_name(name)].add(name)
        self.creates: list[NewTopic] = []
        self.grow: dict[str, int] = {}
        self.config: dict[str, Mapping[str, str | None]] = {}
        self.unchanged: list[str] = []
        self.refusals: dict[str, Check] = {}
        self.owned: dict[str, tuple[str, ...]] = {}

    def value(self) -> TopicPlan:
        return TopicPlan(tuple(self.creates), self.grow, self.config, tuple(self.unchanged), self.refusals, self.owned)

    def add(self, topic: DesiredTopic) -> None:
        winner = self.winners.setdefault(topic.name, topic)
        if topic.paused:
            return
        existing = self.observed.get(topic.name)
        refusal = rules.name_taken(topic, winner) if winner is not topic else self._refusal(topic, existing)
        if refusal is not None:
            self.refusals[topic.key] = refusal
        elif existing is None:
            self._create(topic)
        else:
            self._change(topic, existing)

    def _refusal(self, topic: DesiredTopic, existing: TopicDescription | None) -> Check | None:
        always = rules.check_name(topic.name) or rules.check_config(topic)
        if existing is not None:
            return always or rules.check_existing(topic, existing)
        collision = rules.check_collision(topic, self.names[rules.metric_name(topic.name)])
        return always or rules.check_sizes(topic, self.brokers) or collision

    def _create(self, topic: DesiredTopic) -> None:
        declared = config.declared_text(topic.config)
        self.names[rules.metric_name(topic.name)].add(topic.name)
        self.creates.append(NewTopic(topic.name, topic.partitions, topic.replicas, declared))
        self.owned[topic.key] = tuple(sorted(declared))

    def _change(self, topic: DesiredTopic, existing: TopicDescription) -> None:
        declared = config.declared_text(topic.config)
        edits = config.changes(declared, existing.config, topic.owned_keys)
        grows = topic.partitions > existing.partitions
        if grows:
            self.grow[topic.name] = topic.partitions
        if edits:
            self.config[topic.name] = edits
        if not grows and not edits:
            self.unchanged.append(topic.key)
        self.owned[topic.key] = tuple(sorted({*declared, *(key for key, value in edits.items() if value is None)}))
