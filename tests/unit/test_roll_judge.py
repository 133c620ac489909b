"""The judge of `make campaign-rolling` finds planted harm, and leaves a safe roll and a test's own faults alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.campaign_verdict import complaints, with_planted_loss
from support.roll_judge import Broken, Finding, Sighting, Stop, judge, under_min_isr_s
from support.roll_witness import Stops

from controlplane.domain.observation import PartitionObservation

BROKERS = (3, 4, 5)
CONTROLLERS = frozenset({0, 1, 2})
USER, NAMESPACE = "system:serviceaccount:kfleet:kfleet-operator", "e2e-x"


def look(at: float, isr: tuple[int, ...], up: tuple[int, ...] | None = None, **changes: object) -> Sighting:
    partition = PartitionObservation("orders", 0, isr[0] if isr else None, BROKERS, isr, 2)
    known = {"voters": CONTROLLERS, "caught_up": CONTROLLERS, "partitions": (partition,)} | changes
    return Sighting(at, at + 0.1, brokers=frozenset(isr if up is None else up), **known)  # type: ignore[arg-type]


def kinds(found: list[Finding]) -> list[str]:
    return [finding.kind for finding in found]


SAFE = [
    look(0, (3, 4, 5)),
    look(2, (4, 5)),
    look(5, (4, 5), up=BROKERS),
    look(6, (3, 4, 5)),
    look(8, (3, 5)),
    look(12, (3, 4, 5)),
]
"""Broker 3 restarts, then 4."""


def test_a_safe_roll_is_left_alone() -> None:
    assert judge(SAFE, [Stop(1, 3), Stop(7, 4)]) == []
    assert under_min_isr_s(SAFE) == 0


@pytest.mark.parametrize(
    ("sightings", "stops", "found"),
    [
        # 4 is stopped while 3 is registered again and not in sync.
        ([*SAFE[:3], look(7, (5,))], [Stop(1, 3), Stop(5.5, 4)], ["UnsafeStop", "UnderMinIsr"]),
        # 4 is stopped right after 3, which still counts as in sync.
        ([look(0, BROKERS), look(2, (5,))], [Stop(1, 3), Stop(1.2, 4)], ["UnsafeStop", "UnderMinIsr"]),
        # 4 fell out by itself, and 3 is stopped all the same.
        ([look(0, (3, 5)), look(2, (5,))], [Stop(1, 3)], ["UnsafeStop", "UnderMinIsr"]),
        # Already below min ISR: one more is taken.
        ([look(0, (3,)), look(2, ())], [Stop(1, 3)], ["UnsafeStop"]),
        # Nobody looked.
        ([look(0, BROKERS)], [Stop(60, 3)], ["UnwitnessedStop"]),
        ([], [Stop(60, 3)], ["UnwitnessedStop"]),
        # A controller goes while another lags.
        ([look(0, BROKERS, caught_up=frozenset({0, 1}))], [Stop(1, 0)], ["UnsafeStop"]),
        # Two controllers at once.
        ([look(0, BROKERS), look(3, BROKERS)], [Stop(1, 0), Stop(1.1, 1)], ["UnsafeStop"]),
        # One is there again and has not fetched yet, though it is within the window of what it fetched before.
        ([look(0, BROKERS), look(2, BROKERS, fetched={0: 1.2})], [Stop(1, 0, 1.5), Stop(2.5, 1)], ["UnsafeStop"]),
    ],
)
def test_control_planted_harm_is_found(sightings: list[Sighting], stops: list[Stop], found: list[str]) -> None:
    assert kinds(judge(sightings, stops)) == found


def test_what_the_test_broke_after_a_stop_is_not_the_operators_doing() -> None:
    seen = [look(0, BROKERS), look(2, (4, 5)), look(4, (5,)), look(9, BROKERS)]
    assert kinds(judge(seen, [Stop(1, 3)])) == ["UnderMinIsr"], "nobody said that 4 was broken"
    assert judge(seen, [Stop(1, 3)], [Broken(4, 3)]) == []
    assert under_min_isr_s(seen) == 5


def test_control_a_broken_node_excuses_no_stop_that_is_made_while_it_is_away() -> None:
    seen = [look(0, BROKERS), look(2, (3, 5)), look(6, (5,))]
    assert kinds(judge(seen, [Stop(5, 3)], [Broken(4, 1)])) == ["UnsafeStop"]


def test_a_node_that_came_back_between_two_looks_had_been_seen_by_the_operator() -> None:
    seen = [look(0, BROKERS), look(2, (4, 5)), look(6.2, BROKERS, up=BROKERS)]
    assert judge(seen, [Stop(1, 3), Stop(6.1, 4)]) == []


def test_a_controller_that_was_restarted_too_fast_to_be_seen_away_is_back_once_it_has_fetched() -> None:
    stops = [Stop(1, 0, 1.5), Stop(2.5, 1)]
    assert judge([look(0, BROKERS), look(2, BROKERS, fetched={0: 1.9})], stops) == []
    assert (
        judge([look(0, BROKERS), look(2, BROKERS, fetched={0: 1.2}), look(2.6, BROKERS, fetched={0: 2.2})], stops) == []
    )


def test_a_node_that_leaves_again_without_a_stop_is_not_the_operators_doing() -> None:
    seen = [*SAFE[:4], look(20, (4,)), look(21, BROKERS)]
    assert judge(seen, [Stop(1, 3)]) == []


def test_partitions_that_can_spare_none_are_the_planners_to_refuse() -> None:
    single = PartitionObservation("single", 0, 3, (3,), (3,), 1)
    assert judge([look(0, BROKERS, partitions=(single,))], [Stop(1, 3)]) == []


def test_control_a_planted_loss_is_a_complaint(tmp_path: Path) -> None:
    good = {"lost": 0, "reordered": 0, "duplicated": 0, "acknowledged": 5000}
    assert complaints(good, [], new_epochs=0) == []
    assert complaints(good | {"duplicated": 2}, [], new_epochs=1) == []
    for bad in ({"lost": 1}, {"reordered": 1}, {"duplicated": 1}, {"acknowledged": 10}):
        assert complaints(good | bad, [], new_epochs=0)
    assert complaints(good, [Finding("UnsafeStop", 1, "x")], new_epochs=0) == ["UnsafeStop: x"]
    journal = tmp_path / "canary.jsonl"
    journal.write_text('["ack",0]\n["read",0]\n["read",1]\n')
    assert with_planted_loss(journal).read_text() == '["ack",0]\n["read",1]\n'


def event(
    pod: str,
    *,
    code: int = 200,
    user: str = USER,
    verb: str = "delete",
    at: str = "2999-01-01T00:00:00.5Z",
    subresource: str | None = None,
) -> str:
    reference = {"resource": "pods", "namespace": NAMESPACE, "name": pod}
    reference |= {"subresource": subresource} if subresource else {}
    known = {"verb": verb, "user": {"username": user}, "objectRef": reference, "responseStatus": {"code": code}}
    return json.dumps(known | {"requestReceivedTimestamp": at}, separators=(",", ":")) + "\n"


def bound(pod: str, at: str, *, code: int = 201) -> str:
    return event(pod, code=code, user="system:kube-scheduler", verb="create", at=at, subresource="binding")


def test_stops_are_read_from_the_audit_log_as_it_grows_and_from_what_was_rotated_out_of_it(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(event("cell-brokers-3", at="2001-01-01T00:00:00Z"))
    stops = Stops(log, USER, NAMESPACE)
    assert stops.all() == [], "what was stopped before does not count"
    with log.open("a") as more:
        more.write(event("cell-brokers-4", code=409) + event("cell-brokers-4", user="bob"))
        more.write(event("cell-brokers-4", verb="create") + event("cell-brokers-4") + event("cell-brokers-5")[:-5])
    assert [stop.node for stop in stops.all()] == [4]
    with log.open("a") as more:
        more.write(event("cell-brokers-5")[-5:])
    log.rename(tmp_path / "audit-2999-01-01T00-00-01.000.jsonl")
    log.write_text(event("cell-controllers-0"))
    assert [stop.node for stop in stops.all()] == [4, 5, 0]
    assert [stop.node for stop in stops.all()] == [4, 5, 0]


def test_a_stop_knows_when_its_next_pod_was_bound(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("")
    stops = Stops(log, USER, NAMESPACE)
    with log.open("a") as more:
        more.write(bound("cell-controllers-0", "2999-01-01T00:00:01Z"))
        more.write(event("cell-controllers-0", at="2999-01-01T00:00:02Z"))
        more.write(bound("cell-controllers-0", "2999-01-01T00:00:03Z", code=409))
        more.write(bound("cell-controllers-1", "2999-01-01T00:00:04Z"))
        more.write(bound("cell-controllers-0", "2999-01-01T00:00:05Z"))
        more.write(event("cell-controllers-0", at="2999-01-01T00:00:06Z"))
    first, second = stops.all()
    assert (first.again, second.again) == (first.at + 3, None)
