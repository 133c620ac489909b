"""What `make bench-roll` makes of what it saw: phases, ratios, targets, and the Java producer's account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.evidence import EVIDENCE, ROOT
from support.hand_made import HandMade
from support.java_producer import Said, Stored, events, parse
from support.operated import is_ready, sight
from support.roll_figures import (
    Row,
    Sight,
    Timeline,
    medians_of_phases,
    ratios,
    summary,
    table,
    timeline,
    verdicts,
    with_table,
)
from support.roll_traffic import of_account

from controlplane.domain.accounting import account


def restart(pod: str, asked: float, new: str) -> list[Sight]:
    """Stops for 3 s, is replaced after 0.5, runs after 0.25 more and is ready after 2 more."""
    return [
        Sight(asked, pod, "old", terminating=True, running=True, ready=True),
        Sight(asked + 2, pod, "old", terminating=True),
        Sight(asked + 3, pod, "old", gone=True, terminating=True),
        Sight(asked + 3.5, pod, new),
        Sight(asked + 3.75, pod, new, running=True),
        Sight(asked + 5.75, pod, new, running=True, ready=True),
    ]


def test_phases_add_up_to_the_wall_time() -> None:
    before = [Sight(0, pod, "old", running=True, ready=True) for pod in ("a", "b")]
    found = timeline(10, 25, [*restart("b", 17, "new-b"), *before, *restart("a", 11, "new-a")])
    assert found.decide_s == 1
    assert [node.node for node in found.nodes] == ["a", "b"]
    first, second = found.nodes
    assert (first.stop_s, first.replace_s, first.launch_s, first.start_s, first.back_s) == (3, 0.5, 0.25, 2, 0.25)
    assert second.back_s == 2.25
    assert found.wall_s == 15


@pytest.mark.parametrize("seen", [1, 2, 3, 4, 5])
def test_control_a_restart_that_was_not_seen_to_its_end_is_refused(seen: int) -> None:
    with pytest.raises(ValueError, match=r"a was stopped and never seen .*ready"):
        timeline(10, 25, restart("a", 11, "new")[:seen])


def test_a_roll_without_restarts_is_all_decision() -> None:
    assert timeline(1, 3, [Sight(0, "a", "old", ready=True)]) == Timeline(2, ())


def row(pair: int, side: str, client: str = "java", **figures: Any) -> Row:
    nodes = [{"node": "1", "stop_s": 1.0, "replace_s": 0.0, "launch_s": 0.0, "start_s": 2.0, "back_s": 1.0}]
    calm = {"wall_s": 20.0, "worst_ms": 200.0, "p99_ms": 50.0, "stalls": 2, "stalled_ms": 300.0, "decide_s": 0.5}
    known = {"lost": 0, "failed": 0, "unresolved": 0, "complete": True, "nodes": nodes}
    return {"pair": pair, "side": side, "client": client} | calm | known | figures


def pairs(ours: list[dict[str, Any]], **plain: Any) -> list[Row]:
    rows = [row(number, "ours", **figures) for number, figures in enumerate(ours)]
    return [
        *rows,
        *(row(number, "plain", **({"wall_s": 40.0, "worst_ms": 800.0} | plain)) for number, _ in enumerate(ours)),
    ]


def unmet(rows: list[Row]) -> set[str]:
    return {one["figure"].partition(",")[0] for one in verdicts(rows) if not one["met"]}


def test_the_median_of_pairs_decides() -> None:
    found = ratios(pairs([{"worst_ms": 80.0}, {"worst_ms": 160.0}, {"worst_ms": 8000.0}]))["java"]
    assert found["worst_ms"] == 0.2
    assert found["wall_s"] == 0.5
    assert not unmet(pairs([{}, {}, {"worst_ms": 8000.0}]))


def test_a_pair_that_is_not_whole_does_not_count() -> None:
    assert ratios([row(1, "ours")]) == {"java": dict.fromkeys(("wall_s", "worst_ms", "p99_ms", "stalls", "stalled_ms"))}
    assert unmet([row(1, "ours")]) == {"wall_s", "worst_ms"}


def test_nothing_to_compare_with_is_not_a_ratio() -> None:
    assert ratios(pairs([{}], stalls=0))["java"]["stalls"] is None


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        ({"wall_s": 33.0}, "wall_s"),
        ({"worst_ms": 401.0}, "worst_ms"),
        ({"worst_ms": None}, "worst_ms"),
        ({"lost": 1}, "lost"),
        ({"failed": 1}, "failed"),
        ({"unresolved": 1}, "unresolved"),
        ({"complete": False}, "lost"),
    ],
)
def test_control_a_missed_target_is_said(ours: dict[str, Any], missed: str) -> None:
    assert missed in unmet(pairs([ours]))
    assert "NOT MET" in table(pairs([ours]))


def test_what_the_other_side_lost_is_shown_and_not_held_against_ours() -> None:
    assert not unmet(pairs([{}], lost=3))


def test_phases_are_summed_over_nodes_and_compared_by_median() -> None:
    found = medians_of_phases(pairs([{}, {}, {"decide_s": 9.0}]), "ours")
    assert found == {"decide_s": 0.5, "stop_s": 1.0, "replace_s": 0.0, "launch_s": 0.0, "start_s": 2.0, "back_s": 1.0}


SENT_MS = 1_700_000_000_000


def said(*lines: dict[str, Any], sent: int) -> Said:
    end = {"timestamp": 9, "name": "tool_data", "sent": sent, "acked": 0}
    return parse(["[main] INFO not json", "17", *map(json.dumps, [{"name": "startup_complete"}, *lines, end])])


def acked(number: int, after_ms: int, partition: int = 0, offset: int = 0) -> dict[str, Any]:
    answer = {"name": "producer_send_success", "timestamp": SENT_MS + number + after_ms, "value": f"7.{number}"}
    return answer | {"topic": "t", "partition": partition, "offset": offset, "key": None}


def refused(
    number: int, why: str, kind: str = "class org.apache.kafka.common.errors.TimeoutException"
) -> dict[str, Any]:
    event = {"name": "producer_send_error", "timestamp": SENT_MS + 500, "value": f"7.{number}", "exception": kind}
    return event | {"message": why}


def stored(number: int, partition: int = 0, offset: int = 0) -> Stored:
    return Stored(number, partition, offset, SENT_MS + number)


def test_a_java_run_in_which_all_went_well() -> None:
    heard = said(acked(0, 5), acked(1, 250, partition=1), acked(2, 8, offset=1), sent=3)
    log = [stored(0), stored(1, partition=1), stored(2, offset=1)]
    found = account(events("7", heard, log))
    assert (found.sent, found.acknowledged, found.consumed) == (3, 3, 3)
    assert (found.lost, found.failed, found.unresolved, found.duplicated, found.holes) == (0, 0, 0, 0, 0)
    assert (found.p50_ms, found.max_ms) == (8, 250)
    assert [(stall.partition, stall.duration_ms) for stall in found.stalls] == [(1, 250)]
    assert of_account(found, complete=heard.complete)["stalled_ms"] == 250


@pytest.mark.parametrize(
    ("lines", "log", "expected"),
    [
        ([acked(0, 5), acked(1, 5, offset=1)], [stored(0)], {"lost": 1}),
        ([acked(0, 5)], [stored(0), stored(0, offset=1), stored(1, offset=2)], {"duplicated": 1, "unresolved": 1}),
        ([acked(0, 5), refused(1, "expired")], [stored(0)], {"failed": 1}),
        ([acked(0, 5)], [stored(0)], {"unresolved": 1}),
        ([acked(0, 5, offset=1), acked(1, 5)], [stored(1), stored(0, offset=1)], {"reordered": 1, "lost": 0}),
    ],
)
def test_control_what_went_wrong_in_a_java_run_is_found(
    lines: list[dict[str, Any]], log: list[Stored], expected: dict[str, int]
) -> None:
    found = account(events("7", said(*lines, sent=2), log))
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_producer_that_was_killed_is_not_complete() -> None:
    assert not parse([json.dumps(acked(0, 5)), '{"timestamp": 1, "na']).complete


def test_what_the_tool_tries_after_it_was_told_to_end_was_never_sent() -> None:
    late = refused(
        1, "Cannot perform operation after producer has been closed", "class java.lang.IllegalStateException"
    )
    heard = said(acked(0, 5), late, sent=2)
    assert (heard.sent, heard.failed) == (1, {})


def test_a_hand_made_node_keeps_kafka_s_defaults(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from controlplane.sandbox.images import KAFKA_SCRIPTS, Runtime

    image = Runtime({"JAVA_HOME": "/java", "KAFKA_LIBS": "/libs", "KAFKA_CDS": "/a.aot"}, (KAFKA_SCRIPTS,))
    monkeypatch.setattr("support.hand_made.resolve", lambda _: image)
    cluster = HandMade(tmp_path, "4.3.1", 512)
    places = {"listeners", "advertised.listeners", "log.dirs", "node.id", "process.roles"}
    assert cluster.properties(2).keys() - places == {
        "controller.listener.names",
        "controller.quorum.bootstrap.servers",
    }
    argv, env = cluster.command()
    assert argv == [str(KAFKA_SCRIPTS / "kafka-node-run")]
    assert env | {"PATH": ""} == {"JAVA_HOME": "/java", "KAFKA_LIBS": "/libs", "PATH": "", "KAFKA_HEAP": "512m"}


def test_a_sight_says_what_the_kubelet_says() -> None:
    pod = {
        "metadata": {"name": "p", "uid": "u", "deletionTimestamp": "now"},
        "status": {
            "containerStatuses": [{"state": {"running": {}}}],
            "conditions": [{"type": "Ready", "status": "False"}],
        },
    }
    assert sight(pod, 1.0, gone=False) == Sight(1.0, "p", "u", terminating=True, running=True)
    assert sight({"metadata": {"name": "p", "uid": "u"}}, 1.0, gone=True) == Sight(1.0, "p", "u", gone=True)


@pytest.mark.parametrize(
    ("current", "observed", "status", "ready"),
    [(3, 3, "True", True), (3, 2, "True", False), (3, 3, "False", False), (2, 2, "True", False)],
)
def test_ready_counts_for_the_generation_that_was_asked_for(
    current: int, observed: int, status: str, *, ready: bool
) -> None:
    condition = {"type": "Ready", "status": status, "observedGeneration": observed}
    assert is_ready({"metadata": {"generation": current}, "status": {"conditions": [condition]}}, 3) is ready


def test_the_page_has_the_figures_of_its_record() -> None:
    page, file = (ROOT / "docs" / "rolling.md").read_text(), EVIDENCE / "bench-roll.json"
    record = json.loads(file.read_text()) if file.exists() else None
    assert page == with_table(page, record), "run: make bench-roll"
    assert page != with_table(page, {"outcomes": {"rows": pairs([{"wall_s": 1.0}])}}), "control: another record"


def test_a_summary_says_what_is_met() -> None:
    told = summary(pairs([{"wall_s": 20.0, "worst_ms": 500.0}], p99_ms=100.0))
    assert "| java | wall time, s | 40 | 20 | 0.50 | at most 0.8 | met |" in told
    assert "| java | worst latency, ms | 800 | 500 | 0.62 | at most 0.5 | not met |" in told
    assert "| java | p99 latency, ms | 100 | 50 | 0.50 | | |" in told
    assert "| java | records lost, failed or left open | | 0 | | 0 | met |" in told
    assert "| 1 | | 0 | not met |" in summary(pairs([{"lost": 1}]))
