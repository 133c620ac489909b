"""What counts as a fault of an upgrade, and whether it is the new version's: tables over one observation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from property.strategies import NOW, Shape, crashing, pod, starting, terminating, unscheduled

from controlplane.domain.observation import (
    BrokerObservation,
    CanaryObservation,
    ClientObservation,
    ClusterObservation,
    GroupObservation,
    KafkaObservation,
    NodeObservation,
    PartitionObservation,
    PodObservation,
    QuorumObservation,
    TopicPartition,
    VoterObservation,
)
from controlplane.domain.rolling import faults
from controlplane.domain.rolling.faults import CRASH_SECONDS, Findings
from controlplane.domain.rolling.watch import TEXT_LIMIT, Severity, Sighting, Trouble, UpgradeWatch, severity
from controlplane.domain.rolling.witness import ClientLevel, GroupLevel, group_key

OLD, NEW = "4.2.0", "4.3.1"
AFTER = 600.0
SHAPE = Shape((10, 11, 12), (0, 1, 2))
WATCH = UpgradeWatch(OLD, NEW)
ALL = (0, 1, 2)


def new(node: int) -> PodObservation:
    return replace(pod(node, spec_hash="new"), version=NEW)


def seen(
    upgraded: tuple[int, ...] = (10, 11, 12, 0),
    *,
    pods: dict[int, PodObservation | None] | None = None,
    isr: tuple[int, ...] = ALL,
    leader: int | None = 0,
    behind: tuple[int, ...] = (),
    at: float = NOW,
    live: tuple[int, ...] = ALL,
) -> ClusterObservation:
    """Three controllers, three brokers, one partition on all brokers with min ISR 2."""
    own = {node: new(node) if node in upgraded else pod(node) for node in SHAPE.ids} | (pods or {})
    partition = PartitionObservation("t", 0, leader, ALL, isr, 2)
    return ClusterObservation(
        as_of=at,
        namespace="kafka",
        name="demo",
        nodes=tuple(NodeObservation(i, "pool", SHAPE.roles(i), own[i]) for i in SHAPE.ids),
        kafka=KafkaObservation(at, "c", tuple(BrokerObservation(b, "abc"[b], "h", 9091) for b in live), (partition,)),
        quorum=QuorumObservation(
            at, 10, 1, tuple(VoterObservation(i, "d", 9, 0, i not in behind) for i in (10, 11, 12))
        ),
    )


def after(observation: ClusterObservation, seconds: float, watch: UpgradeWatch = WATCH) -> Findings:
    """What is found once the same has been seen, every half minute, for so long."""
    findings = faults.look(observation, watch, {}, AFTER)
    for passed in range(30, int(seconds) + 1, 30):
        later = replace(observation, as_of=observation.as_of + passed)
        findings = faults.look(later, findings.watch, {}, AFTER)
    return findings


def test_a_healthy_upgrade_shows_nothing() -> None:
    found = after(seen(), AFTER)
    assert (found.faults, found.symptoms, found.watch.sightings) == ((), (), {})


CONFINED = {
    "crash": seen(pods={0: crashing(new(0))}, isr=(1, 2), leader=1, live=(1, 2)),
    "does not come back": seen(pods={0: starting(new(0))}, isr=(1, 2), leader=1, live=(1, 2)),
    "not registered": seen(isr=(1, 2), leader=1, live=(1, 2)),
    "replica out": seen(isr=(1, 2), leader=1),
    "voter behind": seen(behind=(11,)),
    "under min ISR": seen((10, 11, 12, 0, 1), isr=(2,), leader=2),
    "offline": seen((10, 11, 12, 0, 1, 2), isr=(0,), leader=None),
}
ELSEWHERE = {
    "crash of an old node": seen(pods={1: crashing(pod(1))}, isr=(0, 2), live=(0, 2)),
    "old replica out": seen(isr=(0, 2)),
    "both": seen(isr=(2,), leader=2),
    "old voter behind": seen((10,), behind=(11,)),
    "no place to run": seen(pods={0: unscheduled(new(0))}, isr=(1, 2), leader=1, live=(1, 2)),
    "deleted by somebody": seen(pods={0: terminating(new(0))}, isr=(1, 2), leader=1, live=(1, 2)),
    "missing": seen(pods={0: None}, isr=(1, 2), leader=1, live=(1, 2)),
    "lost disk": seen(
        pods={0: replace(crashing(new(0)), format_message="DiskLost: empty")}, isr=(1, 2), leader=1, live=(1, 2)
    ),
    "offline, an old replica with it": seen((10, 11, 12, 0, 1), isr=(0,), leader=None, live=(0, 1)),
}


@pytest.mark.parametrize("name", CONFINED)
def test_faults_of_upgraded_nodes_are_confined(name: str) -> None:
    found = after(CONFINED[name], AFTER)
    assert found.faults
    assert found.confined


@pytest.mark.parametrize("name", ELSEWHERE)
def test_control_other_faults_are_not(name: str) -> None:
    found = after(ELSEWHERE[name], AFTER)
    assert found.faults
    assert not found.confined


@pytest.mark.parametrize("name", [*CONFINED, *ELSEWHERE])
def test_nothing_is_a_fault_before_it_has_lasted(name: str) -> None:
    observation = {**CONFINED, **ELSEWHERE}[name]
    assert after(observation, 30).faults == ()
    assert after(observation, 30).symptoms


def test_a_crash_counts_sooner_than_a_node_that_is_slow_to_come_back() -> None:
    assert after(CONFINED["crash"], CRASH_SECONDS).faults[0].name == "NodeNotReady"
    assert after(CONFINED["does not come back"], CRASH_SECONDS).faults == ()


def test_a_spike_is_forgotten() -> None:
    found = after(CONFINED["crash"], 30)
    well = faults.look(seen(at=NOW + 40), found.watch, {}, AFTER)
    assert well.watch.sightings == {}
    again = faults.look(replace(CONFINED["crash"], as_of=NOW + 90), well.watch, {}, AFTER)
    assert again.faults == ()


def test_two_spikes_with_nobody_looking_in_between_are_no_fault() -> None:
    found = after(CONFINED["crash"], 30)
    much_later = faults.look(replace(CONFINED["crash"], as_of=NOW + 4000), found.watch, {}, AFTER)
    assert much_later.faults == ()


def test_a_clock_that_was_set_back_makes_nothing_last_longer() -> None:
    found = after(CONFINED["crash"], 30)
    before = faults.look(replace(CONFINED["crash"], as_of=NOW - 500), found.watch, {}, AFTER)
    assert {s.since for s in before.watch.sightings.values()} == {int(NOW - 500)}


def test_a_node_that_catches_up_is_mending_however_long_it_takes() -> None:
    def lagging(missing: int, at: float) -> ClusterObservation:
        partitions = tuple(PartitionObservation("t", n, 1, ALL, (1, 2) if n < missing else ALL, 2) for n in range(100))
        observation = seen(at=at)
        assert observation.kafka
        return replace(observation, kafka=replace(observation.kafka, partitions=partitions))

    found, stuck = Findings(WATCH), Findings(WATCH)
    for minute in range(60):
        found = faults.look(lagging(90 - minute, NOW + 60 * minute), found.watch, {}, AFTER)
        stuck = faults.look(lagging(90, NOW + 60 * minute), stuck.watch, {}, AFTER)
        assert found.faults == ()
    assert [check.name for check in stuck.faults] == ["ReplicasOutOfSync"]


def test_what_was_wrong_before_is_no_fault_and_getting_worse_is() -> None:
    before = faults.begin(seen((), isr=(1, 2), leader=1), OLD, NEW)
    assert before.trouble.before(TopicPartition("t", 0)) is Severity.REPLICA_OUT
    assert after(seen(isr=(1, 2), leader=1), AFTER, before).faults == ()
    worse = after(seen(isr=(2,), leader=2), AFTER, before)
    assert [check.name for check in worse.faults] == ["UnderMinIsr"]


def test_a_node_that_the_roll_has_stopped_is_on_its_way() -> None:
    observation = seen(pods={1: terminating(pod(1))}, isr=(0, 2), live=(0, 2))
    assert faults.look(observation, WATCH, {1: frozenset()}, AFTER).symptoms == ()
    gone = seen(pods={1: None}, isr=(0, 2), live=(0, 2))
    assert faults.look(gone, WATCH, {1: frozenset()}, AFTER).symptoms == ()
    assert faults.look(gone, WATCH, {}, AFTER).symptoms


SLOW = ClientObservation(NOW, 300.0, CanaryObservation(60, 40, 0.004, 0.02))


@pytest.mark.parametrize(("upgraded", "confined"), [((10, 11, 12, 0), False), ((10, 11, 12, 0, 1, 2), True)])
def test_what_clients_feel_is_confined_where_every_broker_is_upgraded(
    upgraded: tuple[int, ...], *, confined: bool
) -> None:
    watch = replace(WATCH, level=ClientLevel(p50=0.004, p99=0.02, slowest=0.004))
    found = after(replace(seen(upgraded), clients=SLOW), AFTER, watch)
    assert [check.name for check in found.faults] == ["CanaryErrors"]
    assert found.confined is confined
    with_crash = replace(CONFINED["crash"], clients=SLOW)
    assert after(with_crash, AFTER, watch).confined, "they go with what else is wrong"
    assert not after(replace(ELSEWHERE["old replica out"], clients=SLOW), AFTER, watch).confined


def test_control_lag_alone_is_nobodys_fault_even_in_the_soak() -> None:
    lags = tuple(range(0, 120_000, 10_000))
    clients = ClientObservation(NOW, 300.0, None, (GroupObservation("orders", lags, 120.0),))
    watch = replace(WATCH, level=ClientLevel(groups={group_key("orders"): GroupLevel(0, 0.0)}))
    found = after(replace(seen(SHAPE.ids), clients=clients), AFTER, watch)
    assert [check.name for check in found.faults] == ["ConsumerLagGrows"]
    assert not found.confined


def test_silence_is_confined_to_nobody_unless_everybody_is_upgraded() -> None:
    dark = replace(seen(pods={0: crashing(new(0))}), kafka=None, quorum=None)
    assert not after(dark, AFTER).confined
    everywhere = seen(SHAPE.ids, pods={node: crashing(new(node)) for node in SHAPE.ids})
    assert after(replace(everywhere, kafka=None, quorum=None), AFTER).confined


def test_nothing_is_looked_for_once_finalisation_is_intended() -> None:
    assert after(CONFINED["crash"], AFTER, replace(WATCH, over=True)).faults == ()


@pytest.mark.parametrize("count", [0, 3, 300, 5000])
def test_the_record_fits_a_status_and_hides_rather_than_invents(count: int) -> None:
    ill = [PartitionObservation(f"topic-{n % 200}", n, None if n % 7 == 0 else 1, ALL, (1, 2), 2) for n in range(count)]
    sightings = {f"ReplicasOutOfSync/{n}": Sighting(int(NOW) + n, int(NOW) + n, n) for n in range(count)}
    level = ClientLevel(0.004, 0.02, 0.005, 0.01)
    watch = UpgradeWatch(OLD, NEW, Trouble.of(ill), level).with_sightings(sightings)
    texts = watch.dump()
    assert max(map(len, texts.values())) <= TEXT_LIMIT
    assert UpgradeWatch.load(texts) == watch
    assert all(watch.trouble.before(p.id) >= severity(p) for p in ill)
    assert not count or next(iter(watch.sightings)) == "ReplicasOutOfSync/0"


def test_a_record_that_cannot_be_read_compares_with_nothing() -> None:
    for text in ("[", "[1]", '{"t":{"x":1}}', "9"):
        assert Trouble.load(text).before(TopicPartition("t", 0)) is Severity.OFFLINE
    assert UpgradeWatch.load({}) is None
