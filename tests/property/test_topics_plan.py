"""A topic plan is complete and moderate: carried out it leaves nothing to do, and it never shrinks or takes away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.topics.planner import plan_topics
from controlplane.domain.topics.values import DesiredTopic, TopicDescription, TopicPlan

BROKERS = 3
NAMES = ("orders", "a.b", "a_b", "__internal", "..")
keys = st.sampled_from(("retention.ms", "cleanup.policy", "preallocate", "min.cleanable.dirty.ratio"))
scalars = st.one_of(st.booleans(), st.integers(0, 9), st.sampled_from(("delete", "0.5")), st.just(0.25))

declared = st.lists(
    st.builds(
        DesiredTopic,
        key=st.sampled_from(("n/1", "n/2", "n/3", "n/4")),
        name=st.sampled_from(NAMES),
        partitions=st.integers(0, 5),
        replicas=st.integers(1, 4),
        config=st.dictionaries(keys, scalars, max_size=3),
        created_at=st.sampled_from((1.0, 2.0)),
        owned_keys=st.frozensets(keys, max_size=2),
    ),
    unique_by=lambda topic: topic.key,
    max_size=4,
)
existing = st.dictionaries(
    st.sampled_from(NAMES[:3]),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.dictionaries(keys, st.sampled_from(("1", "true", "x")))),
).map(
    lambda found: {
        name: TopicDescription(name, "id", (tuple(range(factor)),) * partitions, config)
        for name, (partitions, factor, config) in found.items()
    }
)


def carried_out(plan: TopicPlan, before: Mapping[str, TopicDescription]) -> dict[str, TopicDescription]:
    """The world after Kafka did as it was told."""
    after = dict(before)
    for new in plan.creates:
        after[new.name] = TopicDescription(new.name, "id", (tuple(range(new.replicas)),) * new.partitions, new.config)
    for name, growth in plan.grow.items():
        after[name] = replace(after[name], replicas=(after[name].replicas[0],) * growth.partitions)
    for name, edits in plan.config.items():
        merged = {**after[name].config, **edits}
        after[name] = replace(after[name], config={key: value for key, value in merged.items() if value is not None})
    return after


@settings(deadline=None)
@given(declared, existing)
def test_a_plan_carried_out_leaves_nothing_to_do(
    topics: list[DesiredTopic], before: dict[str, TopicDescription]
) -> None:
    plan = plan_topics(topics, before, BROKERS)
    recorded = [replace(t, owned_keys=frozenset(plan.owned.get(t.key, t.owned_keys))) for t in topics]
    again = plan_topics(recorded, carried_out(plan, before), BROKERS)
    assert (again.creates, again.grow, again.config) == ((), {}, {})
    assert again.refusals.keys() == plan.refusals.keys()


@settings(deadline=None)
@given(declared, existing)
def test_every_object_gets_one_answer_and_nothing_undeclared_is_touched(
    topics: list[DesiredTopic], before: dict[str, TopicDescription]
) -> None:
    plan = plan_topics(topics, before, BROKERS)
    assert plan.refusals.keys() | plan.owned.keys() == {t.key for t in topics}
    assert not plan.refusals.keys() & plan.owned.keys()
    refused = {t.name for t in topics} - {t.name for t in topics if t.key in plan.owned}
    assert not refused & ({new.name for new in plan.creates} | plan.grow.keys() | plan.config.keys())
    assert all(growth.partitions > before[name].partitions for name, growth in plan.grow.items())
    for name, edits in plan.config.items():
        owner = next(t for t in topics if t.key in plan.owned and t.name == name)
        assert edits.keys() <= owner.config.keys() | owner.owned_keys
