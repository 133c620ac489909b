"""A cluster in one word and its checks, over a fleet with one in every state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import cli_fleet
from support.cli_fleet import condition, node, operation

from controlplane.cli.next_command import next_command
from controlplane.domain.check import failed
from controlplane.domain.health.checks import OperatorSeen, cluster_checks, operator_check
from controlplane.domain.health.summary import UNHEALTHY, State, summarise
from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    PartitionObservation,
    QuorumObservation,
    VoterObservation,
)

NOW = datetime.fromisoformat("2026-01-02T05:00:00Z").timestamp()
EXPECTED = {
    "calm": (State.HEALTHY, ""),
    "orders": (State.ROLLING, "kfleet op watch roll-2-abc -n kafka"),
    "full": (State.DEGRADED, "kfleet cluster health full -n kafka"),
    "dark": (State.UNAVAILABLE, "kfleet cluster health dark -n kafka"),
    "stuck": (State.BLOCKED, "kfleet explain UnprotectedPartitions"),
    "ledger": (State.AWAITING_APPROVAL, "kfleet approve roll-2-abc -n finance"),
    "held": (State.PAUSED, "kfleet op resume held -n kafka"),
    "new": (State.FORMING, "kfleet cluster health new -n kafka --watch"),
    "odd": (State.APPLYING, "kfleet cluster health odd -n kafka --watch"),
    "mute": (State.UNREPORTED, "kfleet cluster health mute -n kafka"),
    "torn": (State.DELETING, ""),
}
ALIVE = OperatorSeen("kfleet/kfleet-operator", "one", 2.0)


def test_an_upgrade_that_was_rolled_back_needs_somebody() -> None:
    ready = cli_fleet.condition("Ready", status=False, reason="RolledBack", message="Set spec.version to 4.2.0.")
    row = summarise(cli_fleet.cluster("back", conditions=[ready]), NOW)
    assert (row.state, next_command(row)) == (State.ROLLED_BACK, "kfleet explain RolledBack")
    assert not row.healthy


def partition(number: int, *, leader: int | None = 0, isr: tuple[int, ...] = (0, 1, 2)) -> PartitionObservation:
    return PartitionObservation("a", number, leader, (0, 1, 2), isr, 2)


def observed(
    *partitions: PartitionObservation, behind: int | None = None, leader: int | None = 0
) -> ClusterObservation:
    voters = tuple(VoterObservation(n, f"d{n}", 100, 7 if n == behind else 0, n != behind) for n in range(3))
    return ClusterObservation(
        as_of=NOW,
        namespace="kafka",
        name="orders",
        nodes=(),
        quorum=QuorumObservation(NOW, leader, 3, voters),
        kafka=KafkaObservation(NOW, "c", (BrokerObservation(0, "a", "h", 9091),), partitions),
    )


def failing(obj: dict[str, Any], observation: ClusterObservation | None = None) -> dict[str, str]:
    checks = cluster_checks(summarise(obj, NOW), observation=observation, operator=ALIVE)
    return {check.name: check.evidence for check in failed(checks)}


@pytest.mark.parametrize("obj", cli_fleet.fleet(), ids=lambda obj: obj["metadata"]["name"])
def test_every_state_of_the_fleet_is_told_and_answered(obj: dict[str, Any]) -> None:
    row = summarise(obj, NOW)
    state, command = EXPECTED[row.metadata.name]
    assert (row.state, next_command(row)) == (state, command)
    assert (row.state in UNHEALTHY) == (not row.healthy)
    assert bool(row.why) == (state is not State.HEALTHY)


def test_the_fleet_of_the_tests_has_every_state() -> None:
    """But those that only another reason tells apart."""
    others = {State.CANCELLED, State.OUTSIDE_WINDOW, State.ROLLED_BACK}
    assert {state for state, _ in EXPECTED.values()} | others == set(State)


@pytest.mark.parametrize("obj", cli_fleet.fleet(), ids=lambda obj: obj["metadata"]["name"])
def test_a_state_is_healthy_if_and_only_if_every_check_passes(obj: dict[str, Any]) -> None:
    """`kfleet status` and `kfleet cluster health` never contradict each other, for clusters that are looked after."""
    row = summarise(obj, NOW)
    if row.state in {State.DELETING, State.APPLYING}:
        return  # a generation that is not observed yet is not ill, and a check says that it is not there yet
    assert (failing(obj) == {}) == row.healthy, failing(obj)


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("AwaitingApproval", State.AWAITING_APPROVAL),
        ("ApprovalInvalid", State.AWAITING_APPROVAL),
        ("Cancelled", State.CANCELLED),
        ("CellLocked", State.ROLLING),
        ("OutsideWindow", State.OUTSIDE_WINDOW),
        ("Hazard", State.BLOCKED),
        ("Denied", State.BLOCKED),
        ("WouldStopWrites", State.BLOCKED),
    ],
)
def test_somebodys_will_or_turn_is_no_illness(reason: str, state: State) -> None:
    obj = cli_fleet.cluster("x", conditions=[condition("Blocked", status=True, reason=reason, message="m")])
    assert summarise(obj, NOW).state is state
    assert ("NothingBlocked" in failing(obj)) == (state is State.BLOCKED)


def test_a_node_that_the_roll_has_stopped_is_expected_to_be_down_and_another_is_not() -> None:
    assert failing(cli_fleet.rolling()) == {}
    other = cli_fleet.rolling()
    other["status"]["nodes"][2] = node(2, ready=False, state="Starting")
    assert "node 2 Starting" in failing(other)["NodesRunning"]
    crashed = cli_fleet.rolling()
    crashed["status"]["nodes"][1] = node(1, ready=False, state="CrashLoopBackOff", message="out of memory")
    assert "out of memory" in failing(crashed)["NodesRunning"]


def test_a_cluster_just_created_is_forming_and_later_nobody_looks_after_it() -> None:
    obj = {key: value for key, value in cli_fleet.cluster("x").items() if key != "status"}
    created = datetime.fromisoformat(cli_fleet.CREATED).timestamp()
    assert summarise(obj, created + 10).state is State.FORMING
    assert summarise(obj, created + 61).state is State.UNREPORTED


def test_what_brokers_answer_counts_more_than_what_the_status_says() -> None:
    calm = cli_fleet.cluster("orders")
    assert failing(calm, observed(partition(0))) == {}
    assert (
        "2 of 3 partitions have no leader (a-0, a-1)"
        in failing(calm, observed(partition(0, leader=None), partition(1, leader=None), partition(2)))[
            "PartitionsServe"
        ]
    )
    below = failing(calm, observed(partition(0, isr=(0,))))
    assert "1 of 1 partitions are below min ISR" in below["PartitionsServe"]
    assert "ReplicasInSync" in below
    assert set(failing(calm, observed(partition(0, isr=(0, 1))))) == {"ReplicasInSync"}
    assert "controller 1 is 7 records behind" in failing(calm, observed(behind=1))["QuorumCaughtUp"]
    assert "no leader" in failing(calm, observed(leader=None))["QuorumCaughtUp"]


def test_replicas_of_the_node_that_is_being_restarted_may_be_out() -> None:
    assert failing(cli_fleet.rolling(), observed(partition(0, isr=(0, 2)), behind=1)) == {}
    assert set(failing(cli_fleet.rolling(), observed(partition(0, isr=(0, 1))))) == {"ReplicasInSync"}


@pytest.mark.parametrize(
    ("seen", "ok"),
    [
        (OperatorSeen("l", "one", 5.0), True),
        (OperatorSeen("l", "one", 59.0), True),
        (OperatorSeen("l", "one", 61.0), False),
        (OperatorSeen("l", "", 0.0), False),
    ],
)
def test_an_operator_is_alive_while_it_renews_its_lease(seen: OperatorSeen, *, ok: bool) -> None:
    check = operator_check(seen)
    assert check.ok is ok
    assert bool(check.remedy) is not ok


def test_every_failed_check_says_what_to_do() -> None:
    for obj in cli_fleet.fleet():
        checks = cluster_checks(summarise(obj, NOW), observation=None, operator=OperatorSeen("l", "", 0.0))
        assert [check.name for check in failed(checks) if not check.remedy or not check.evidence] == []


WORDS = st.text(max_size=200)


@given(reason=st.from_regex(r"\A[A-Z][A-Za-z]{0,20}\Z"), message=WORDS, ready=st.booleans(), available=st.booleans())
def test_any_status_has_a_state_and_one_line(reason: str, message: str, *, ready: bool, available: bool) -> None:
    obj = cli_fleet.cluster(
        "x",
        operation=operation(message=message),
        conditions=[
            condition("Ready", status=ready, reason=reason, message=message),
            condition("Available", status=available, reason=reason, message=message),
        ],
    )
    row = summarise(obj, NOW)
    assert len(row.why.splitlines()) <= 1
    next_command(row)
    assert (failing(obj) == {}) == row.healthy
