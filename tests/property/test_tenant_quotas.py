"""A tenant never gets more than was said, whatever its brokers and users, and nobody's quotas flap."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.kafka_tenant import TenantQuotas
from controlplane.domain.observation import PartitionPlace
from controlplane.domain.tenants.quotas import (
    BYTE_RATES,
    RELAX_SECONDS,
    Division,
    Steady,
    divided,
    serving,
    steadied,
    whole,
)
from controlplane.domain.users.acls import revocation
from controlplane.domain.users.departed import Departed, plan_departed
from controlplane.domain.users.layers import binding
from controlplane.domain.users.planner import AccessObservation
from controlplane.domain.users.quotas import CONSUMER, MUTATION, PRODUCER, REQUEST, Layer, effective, number_text
from controlplane.domain.users.values import Acl

divisions = st.builds(Division, brokers=st.integers(1, 128), users=st.integers(1, 2000))
quotas = st.builds(
    TenantQuotas,
    produce_bytes_per_second=st.none() | st.integers(1, 10**12).map(str),
    consume_bytes_per_second=st.none() | st.integers(1, 10**12).map(str),
    request_percentage=st.none() | st.integers(1, 100_000),
    controller_mutation_rate=st.none() | st.integers(1, 100_000),
)


@given(quotas, divisions)
def test_all_users_on_all_brokers_together_get_no_more_than_the_tenant(said: TenantQuotas, by: Division) -> None:
    """In numbers as they are written: what Kafka is told. Byte rates by brokers and users, the rest by users."""
    total, one = whole(said), divided(whole(said), by)
    assert one.keys() == total.keys()
    for key, value in one.items():
        written, times = Decimal(number_text(value)), by.users * (by.brokers if key in BYTE_RATES else 1)
        assert written > 0, "Kafka takes no zero"
        assert key not in BYTE_RATES or value.is_integer()
        assert written * times <= max(Decimal(total[key]), Decimal(times if key in BYTE_RATES else 0))


@given(quotas, divisions, divisions)
def test_more_to_share_with_is_never_more_for_one(said: TenantQuotas, by: Division, more: Division) -> None:
    both = Division(by.brokers + more.brokers, by.users + more.users)
    before, after = divided(whole(said), by), divided(whole(said), both)
    assert all(after[key] <= before[key] for key in before)


def test_the_keys_are_kafkas() -> None:
    said = TenantQuotas(
        produce_bytes_per_second="50Mi",
        consume_bytes_per_second="100Mi",
        request_percentage=50,
        controller_mutation_rate=10,
    )
    assert divided(whole(said), Division(brokers=5, users=2)) == {
        PRODUCER: 5 * 2.0**20,
        CONSUMER: 10 * 2.0**20,
        REQUEST: 25.0,
        MUTATION: 5.0,
    }


places = st.builds(
    PartitionPlace,
    topic=st.just("t"),
    leader=st.none() | st.integers(0, 5),
    replicas=st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(tuple),
)


@given(st.lists(places, max_size=12), st.booleans())
def test_no_fewer_brokers_count_than_serve(found: list[PartitionPlace], from_replicas: bool) -> None:  # noqa: FBT001
    leaders = {place.leader for place in found if place.leader is not None}
    holders = {broker for place in found for broker in place.replicas}
    count = serving(found, from_replicas=from_replicas)
    assert count >= len(leaders)
    assert count >= (len(holders) if from_replicas else 0)
    assert count <= len(holders | leaders)


@given(st.lists(st.tuples(st.floats(0, 2 * RELAX_SECONDS), st.integers(0, 6)), min_size=1, max_size=30))
def test_what_is_divided_by_is_never_too_little_and_falls_slowly(looks: list[tuple[float, int]]) -> None:
    held: Steady | None = None
    now, seen = 0.0, list[tuple[float, int]]()
    for wait, number in looks:
        now += wait
        seen.append((now, max(1, number)))
        before, held = held, steadied(held, number, now)
        assert held.value >= max(1, number)
        if before is not None and held.value < before.value:
            lately = [value for at, value in seen if now - at < RELAX_SECONDS]
            assert held.value >= max(lately), "only to what was enough all the time"
        if before is not None and held.value > before.value:
            assert held.value == max(1, number), "never more than there are"
    for turn in range(3):
        held = steadied(held, 1, now + 2 * turn * RELAX_SECONDS)
    assert held is not None
    assert held.value == 1, "in the end it is what there is"


@given(st.integers(1, 5), st.integers(1, 5), st.floats(1, RELAX_SECONDS / 2 - 1))
def test_what_comes_and_goes_changes_nothing(high: int, low: int, period: float) -> None:
    held = steadied(None, max(high, low), 0.0)
    for turn in range(1, 40):
        held = steadied(held, high if turn % 2 else low, turn * period)
        assert held.value == max(high, low)


@given(
    st.lists(
        st.builds(
            Layer,
            st.sampled_from(["declared", "tenant", "shed"]),
            st.dictionaries(st.sampled_from([PRODUCER, REQUEST]), st.integers(1, 3).map(float)),
        ),
        max_size=4,
    )
)
def test_the_layer_that_binds_says_what_counts(found: list[Layer]) -> None:
    counts, bound = effective(found), binding(found)
    assert counts.keys() == bound.keys()
    for key, name in bound.items():
        saying = [layer for layer in found if layer.values.get(key) == counts[key]]
        assert saying[0].name == name, "of equal ones the first"


PRINCIPALS = ("User:ann", "User:bob")
allowed = frozenset({Acl("User:ann", "topic", "a", "literal", "Read", "allow")})
records = st.dictionaries(
    st.sampled_from(PRINCIPALS), st.builds(Departed, st.none() | st.sampled_from([50.0, 150.0]), st.booleans())
)
observed = st.none() | st.frozensets(st.sampled_from(sorted({acl for one in PRINCIPALS for acl in revocation(one)})))


@given(records, st.frozensets(st.sampled_from(PRINCIPALS)), observed, st.booleans())
def test_the_departed_are_denied_as_long_as_they_can_come_back(
    known: dict[str, Departed],
    declared: frozenset[str],
    acls: frozenset[Acl] | None,
    unlisted: bool,  # noqa: FBT001
) -> None:
    world = None if acls is None else acls | allowed
    plan = plan_departed(known, dict.fromkeys(declared), AccessObservation(world, {}, {}), 100.0, unlisted=unlisted)
    touched = plan.create | plan.delete
    assert {acl.principal for acl in touched} <= known.keys() - declared
    assert not touched & allowed
    assert not (unlisted and plan.create)
    after = None if world is None else (world | plan.create) - plan.delete
    again = plan_departed(
        plan.records, dict.fromkeys(declared), AccessObservation(after, {}, {}), 100.0, unlisted=unlisted
    )
    assert not again.create | again.delete, "the plan after the plan is empty"
    for principal, record in known.items():
        over = record.until is not None and record.until <= 100.0
        left = {acl for acl in after or () if acl.principal == principal} & revocation(principal)
        if after is None or principal in declared:
            continue
        if over or unlisted:
            assert not left
        elif not record.denied:
            assert left == revocation(principal)
        assert over or principal in plan.records or (record.denied and not left)
