"""A plan for topics of tenants: on the shard, within the limits, nobody else's; carried out it leaves nothing to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.tenancy import read, tenant

from controlplane.domain.tenants.directory import Cell, directory
from controlplane.domain.topics.planner import plan_topics
from controlplane.domain.topics.tenancy import Facts, Tenancy
from controlplane.domain.topics.values import DesiredTopic, TopicDescription, TopicPlan

CELL = Cell("kafka", "cell")
RACKS = {1: "a", 2: "b", 3: "c", 4: "a", 5: "b"}
SHARD = (1, 2, 4)
NAMES = ("shop.a", "shop.b", "shop.c", "shop.d", "other")
GIB = 1 << 30

declared = st.lists(
    st.builds(
        DesiredTopic,
        key=st.sampled_from([f"{namespace}/{name}" for namespace in ("shop", "else") for name in "abcd"]),
        name=st.sampled_from(NAMES),
        partitions=st.integers(1, 5),
        replicas=st.integers(1, 4),
        config=st.sampled_from(({}, {"retention.bytes": GIB})),
        created_at=st.sampled_from((1.0, 2.0)),
        tenant=st.sampled_from(("shop", "shop", "shop", None, "nobody")),
    ),
    unique_by=lambda topic: topic.key,
    max_size=6,
)
existing = st.dictionaries(
    st.sampled_from(NAMES),
    st.lists(st.permutations((1, 2, 3)).map(lambda ids: tuple(ids[:2])), min_size=1, max_size=3),
    max_size=3,
).map(lambda found: {name: TopicDescription(name, "id", tuple(on), {}) for name, on in found.items()})
limit = st.none() | st.integers(1, 12)
limits = st.fixed_dictionaries(
    {"topics": limit, "partitions": limit, "storage": st.sampled_from((None, "9Gi", "30Gi"))}
)


def planned(
    topics: list[DesiredTopic], there: Mapping[str, TopicDescription], bounds: Mapping[str, object]
) -> TopicPlan:
    shop = tenant(shard=SHARD, limits={name: value for name, value in bounds.items() if value is not None})
    tenancy = Tenancy(directory(read(shop)), CELL, there, Facts(RACKS))
    return plan_topics(topics, there, len(RACKS), tenancy)


def carried_out(plan: TopicPlan, before: Mapping[str, TopicDescription]) -> dict[str, TopicDescription]:
    after = dict(before)
    for new in plan.creates:
        replicas = new.assignments or (tuple(range(1, new.replicas + 1)),) * new.partitions
        after[new.name] = TopicDescription(new.name, "id", replicas, new.config)
    for name, growth in plan.grow.items():
        more = growth.assignments or (after[name].replicas[0],) * (growth.partitions - after[name].partitions)
        after[name] = replace(after[name], replicas=(*after[name].replicas, *more))
    for name, edits in plan.config.items():
        merged = {**after[name].config, **edits}
        after[name] = replace(after[name], config={key: value for key, value in merged.items() if value is not None})
    return after


def topics_of(topics: Mapping[str, TopicDescription]) -> int:
    return sum(name.startswith("shop.") for name in topics)


def partitions_of(topics: Mapping[str, TopicDescription]) -> int:
    return sum(topic.partitions for name, topic in topics.items() if name.startswith("shop."))


@settings(max_examples=300, deadline=None)
@given(declared, existing, limits)
def test_it_stays_on_the_shard_within_the_limits_and_what_is_carried_out_is_done(
    topics: list[DesiredTopic], before: dict[str, TopicDescription], bounds: dict[str, int | str | None]
) -> None:
    plan = planned(topics, before, bounds)
    after = carried_out(plan, before)
    for name, topic in after.items():
        new = topic.replicas[before[name].partitions if name in before else 0 :]
        if name.startswith("shop."):
            assert {broker for on in new for broker in on} <= set(SHARD)
    for most, count in ((bounds["topics"], topics_of), (bounds["partitions"], partitions_of)):
        assert most is None or count(after) <= max(int(most), count(before))
    for one in (one for one in topics if one.key not in plan.refusals):
        whose = ("shop", "shop") if one.name.startswith("shop.") else (one.namespace, None)
        assert (one.namespace, one.tenant) == whose
    again = planned(topics, after, bounds)
    assert (again.creates, again.grow, again.config) == ((), {}, {})
    assert again.refusals.keys() == plan.refusals.keys()
