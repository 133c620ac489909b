"""How saturated brokers are, and what a level means for a user's quotas."""

from __future__ import annotations

from typing import Any

import pytest
from support.cell import combined_cluster

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_tenant import KafkaTenant, Priority
from controlplane.api.kafka_user import KafkaUser
from controlplane.api.load_shedding import LoadShedding
from controlplane.api.validate import check_cluster
from controlplane.domain.shedding.ladder import Bounds, Level, judged
from controlplane.domain.shedding.measure import FRESH_SECONDS, STALE_SECONDS, Delay, saturation, saturations
from controlplane.domain.shedding.status import shedding_status
from controlplane.domain.shedding.tighten import DEFAULT_HANDLERS, SHED, Shed, handlers, is_tightened
from controlplane.domain.tenants.quotas import Division
from controlplane.domain.users.layers import CellState, layers
from controlplane.domain.users.quotas import CONSUMER, MUTATION, PRODUCER, REQUEST, effective, plan_quotas

REST = 0.002


def delays(*seconds: float, until: float = 100.0) -> list[Delay]:
    """One a second, the last at `until`."""
    return [Delay(until - (len(seconds) - 1 - number), one) for number, one in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ((REST,) * 5, 0.0),
        ((REST, REST, 0.5, 0.5, 0.5), 0.5 - REST),
        ((REST, REST, REST, 3.0, 3.0), 0.0),
        ((0.5,) * 5, 0.5 - 0.02),
        ((REST, REST), None),
        ((), None),
    ],
    ids=["at rest", "a queue", "two pauses are none", "saturated from the first look on", "too few", "none"],
)
def test_saturation(seconds: tuple[float, ...], found: float | None) -> None:
    assert saturation(delays(*seconds), 100.0) == (pytest.approx(found) if found is not None else None)


def test_of_a_broker_that_is_silent_nothing_is_known() -> None:
    samples = {1: delays(*[0.5] * 5), 2: delays(*[0.5] * 5, until=100.0 - FRESH_SECONDS - 1)}
    assert saturations(samples, 100.0).keys() == {1}
    back = [*delays(*[0.5] * 5, until=100.0 - STALE_SECONDS - 1), *delays(REST, REST)]
    assert saturation(back, 100.0) is None, "two samples of now, and what was a minute ago"


def cluster(level: int = 0, **spec: Any) -> KafkaCluster:
    obj = combined_cluster(**spec)
    if level:
        obj["status"] = {"loadShedding": {"level": level}}
    return KafkaCluster.model_validate(obj)


def tenant(priority: str, **quotas: Any) -> KafkaTenant:
    spec = {
        "owner": {"team": "t"},
        "namespaces": ["kafka"],
        "topicPrefix": "t.",
        "priority": priority,
        "cells": [{"namespace": "kafka", "name": "cell"}],
        "shard": {"size": 2},
        "quotas": quotas,
    }
    return KafkaTenant.model_validate({"metadata": {"name": "t"}, "spec": spec})


def user(quotas: dict[str, str] | None = None, owned: dict[str, str] | None = None, **spec: Any) -> KafkaUser:
    base = {"clusterRef": {"name": "cell"}, "authentication": {"type": "scram-sha-512"}, "quotas": quotas or {}}
    return KafkaUser.model_validate(
        {"metadata": {"name": "app"}, "spec": base | spec, "status": {"quotas": owned or {}}}
    )


def quotas_of(app: KafkaUser, of: KafkaTenant | None, cell: CellState) -> dict[str, float]:
    return effective(layers(app, of, cell))


def shed(level: int, percent: int = 25, of_brokers: int = 1) -> Shed:
    return Shed(Level(level), percent, of_brokers)


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("level", list(Level))
def test_who_is_tightened_at_which_level(priority: Priority, level: Level) -> None:
    at = {Priority.BULK: 2, Priority.STANDARD: 3, Priority.CRITICAL: 99}[priority]
    assert is_tightened(level, priority) == (level >= at)
    names = [layer.name for layer in layers(user(), tenant(priority), CellState(shed=shed(level)))]
    assert (SHED in names) == (level >= at)


def test_a_tenant_gets_a_part_of_each_of_its_quotas() -> None:
    of = tenant("Bulk", produceBytesPerSecond="1000", consumeBytesPerSecond="2000", requestPercentage=80)
    divisions = {"t": Division(brokers=2, users=2)}
    before = quotas_of(user({"consumerByteRate": "300"}), of, CellState(divisions))
    assert before == {CONSUMER: 300.0, PRODUCER: 250.0, REQUEST: 40.0}
    after = quotas_of(user({"consumerByteRate": "300"}), of, CellState(divisions, shed(2)))
    assert after == {CONSUMER: 75.0, PRODUCER: 62.0, REQUEST: 10.0}


def test_who_has_no_quota_gets_a_part_of_the_request_handlers() -> None:
    """Shared by the tenant's users; bytes that nobody limits stay so, and controllers have nothing to do with it."""
    cell = CellState({"t": Division(users=4)}, shed(2, percent=20, of_brokers=8))
    assert quotas_of(user(), tenant("Bulk"), cell) == {REQUEST: 100 * 8 * 0.20 / 4}
    assert quotas_of(user(), tenant("Bulk", controllerMutationRate=4), cell)[MUTATION] == 1.0
    large = tenant("Bulk", requestPercentage=100_000)
    assert quotas_of(user(), large, cell)[REQUEST] == 40.0, "more than there is counts as all"


def test_users_without_a_tenant_are_not_tightened() -> None:
    assert quotas_of(user({"requestPercentage": "50"}), None, CellState(shed=shed(3))) == {REQUEST: 50.0}


def test_what_somebody_set_by_hand_stays_and_is_there_afterwards() -> None:
    """The shed layer would be the first to own the key, and taking it away would remove what was there."""
    observed = {"app": {REQUEST: 70.0}}
    during = CellState(shed=shed(2), observed=observed)
    wanted = quotas_of(user(), tenant("Bulk"), during)
    assert wanted == {}
    plan = plan_quotas(wanted, {}, observed["app"], exclusive=False)
    assert (plan.changes, plan.owned, plan.foreign) == ({}, {}, (REQUEST,))
    ours = user(owned={REQUEST: "25"})
    assert quotas_of(ours, tenant("Bulk"), CellState(shed=shed(2), observed={"app": {REQUEST: 70.0}})) == {
        REQUEST: 25.0
    }
    assert quotas_of(user(exclusive=True), tenant("Bulk"), during) == {REQUEST: 25.0}, "nothing by hand is kept there"


def test_handlers_are_those_that_the_cluster_declares() -> None:
    assert handlers(cluster()) == DEFAULT_HANDLERS
    assert handlers(cluster(config={"num.io.threads": 3})) == 3
    assert handlers(cluster(config={"num.io.threads": "many"})) == DEFAULT_HANDLERS


def test_only_the_status_says_what_is_shed() -> None:
    assert Shed.of(cluster(loadShedding={"mode": "Enabled"})) == Shed()
    lifted = Shed.of(
        cluster(2, loadShedding={"mode": "Disabled", "tightenToPercent": 10}, config={"num.io.threads": 1})
    )
    assert lifted == Shed(Level.BULK, 10, 1), "until the status says otherwise"


def test_a_status_tells_since_when_and_why() -> None:
    spec = LoadShedding()
    rest = shedding_status(None, Level.NONE, {1: 0.001}, spec, 0.0)
    assert (rest.since, rest.message, rest.saturation) == (None, "", ())
    first = shedding_status(rest, Level.REBALANCES, {1: 0.412, 2: 0.09, 3: 0.0}, spec, 60.0)
    assert first.since == "1970-01-01T00:01:00Z"
    assert "broker 1" in first.message
    assert "412 ms" in first.message
    assert [(one.broker, one.delay_milliseconds) for one in first.saturation] == [(1, 410), (2, 90)]
    same = shedding_status(first, Level.REBALANCES, {1: 0.2}, spec, 90.0)
    assert (same.since, same.message) == (first.since, first.message)
    released = shedding_status(same, Level.NONE, {}, spec, 120.0)
    assert (released.level, released.since, released.saturation) == (0, "1970-01-01T00:02:00Z", ())
    assert "relaxedBelow" in released.message


def test_bounds_that_cross_are_refused_with_their_field() -> None:
    wrong = cluster(loadShedding={"saturatedAbove": "50ms", "relaxedBelow": "50ms"})
    assert [path for path, _ in check_cluster(wrong)] == ["spec.loadShedding.relaxedBelow"]
    assert check_cluster(cluster(loadShedding={"saturatedAbove": "51ms", "relaxedBelow": "50ms"})) == []


def test_nothing_is_given_back_while_a_broker_that_serves_does_not_answer() -> None:
    bounds = Bounds(saturated=0.2, relaxed=0.05, raise_after=30.0, release_after=300.0)
    assert judged({1: 0.01, 2: 0.02}, {1, 2}, bounds) == 0.02
    assert judged({1: 0.01, 2: 0.02}, {1}, bounds) == 0.02, "one that is down holds nobody up"
    assert judged({1: 0.01}, {1, 2}, bounds) is None
    assert judged({1: 0.3}, {1, 2}, bounds) == 0.3, "what is known of others counts"
    assert judged({}, {1, 2}, bounds) is None
