"""`make bench-roll`: a plain hand-made roll against ours, in alternating pairs.

PAIRS (5), HEAP in mebibytes (512), VERSION (4.3.1) and RATE in records a second (1000) come from the environment.

Both change one static broker setting of three combined nodes. By hand: stop, edit, start, wait until all replicas are
in sync, next (support/hand_made.py). Ours: the spec is changed and the operator of a sandbox does the rest, to Ready.
Same Java, jars, heap, JVM flags, topic, rate and clients. By hand are Kafka's defaults, and no class archive; the wall
time of ours includes deciding, and returning the leaders. One roll of each goes before that counts for nothing, so that
files are in the page cache.

Both clusters run all the time, and so does the sandbox: each side is measured beside the other's idle processes, and
`idle_cpu_percent` of every row says what those take. Which side goes first alternates from pair to pair.

A broker that comes back within its session (broker.session.timeout.ms, 9 s from its last heartbeat) may not register
until that is over, unless the controllers elected a new leader meanwhile (KAFKA-19047, KAFKA-19130). So a roll that
happens to restart the active controller often is quicker: `elections` of every row says how often.

The record with its raw rows goes to docs/evidence/bench-roll.json, its table to docs/rolling.md. That the targets are
met is written down, not asserted; that ours lost nothing and that everything was measured to its end is asserted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
from support.evidence import ROOT, write_record
from support.hand_made import HandMade, hand_made
from support.operated import Operated
from support.quorum import quorum_leader
from support.roll_figures import SIDES, Row, Side, medians_of_phases, ratios, table, verdicts, with_table
from support.roll_traffic import CLIENTS, Moment
from support.sandbox import running_sandbox

PAIRS = int(os.environ.get("PAIRS") or 5)
HEAP_MIB = int(os.environ.get("HEAP") or 512)
"""From 512 the JVM gets Kafka's own flags (kafka-run-class.sh): what a plain node has."""
VERSION = os.environ.get("VERSION") or "4.3.1"
RATE = int(os.environ.get("RATE") or 1000)

TOPIC, PARTITIONS = "orders", 6
TOPIC_CONFIG = {"min.insync.replicas": "2"}
SETTING, FIRST_VALUE = "queued.max.requests", 500
"""Kafka's default; not dynamic, and of no consequence at these rates."""
WARM_UP_S, SETTLE_S = 10.0, 3.0
"""Traffic before the change, which no latency counts; and after the roll, which does."""
PAGE = ROOT / "docs" / "rolling.md"
QUIET_PERCENT, QUIET_SECONDS, LOOK_SECONDS = 25.0, 60.0, 5.0


class Rolls:
    """Both clusters, and the next value of the setting."""

    def __init__(self, plain: HandMade, ours: Operated, directory: Path) -> None:
        self._clusters: dict[Side, HandMade | Operated] = {"plain": plain, "ours": ours}
        self._plain, self._directory = plain, directory
        self._values = dict.fromkeys(SIDES, FIRST_VALUE)

    def change(self, side: Side) -> dict[str, str]:
        self._values[side] += 1
        return {SETTING: str(self._values[side])}

    def uncounted(self, side: Side) -> None:
        self._clusters[side].roll(self.change(side))

    def measured(self, side: Side, client: str, pair: int, *, first: bool) -> Row:
        self._plain.return_leaders()
        idle = wait_quiet()
        cluster = self._clusters[side]
        leader, epoch = quorum_leader(cluster.bootstrap)
        directory = self._directory / f"{client}-{pair}-{side}"
        traffic = CLIENTS[client](cluster.bootstrap, TOPIC, directory, VERSION, RATE)
        try:
            traffic.wait_flowing()
            time.sleep(WARM_UP_S)
            since = Moment.now()
            psutil.cpu_percent()
            line = cluster.roll(self.change(side))
            busy = psutil.cpu_percent()
            time.sleep(SETTLE_S)
        finally:
            traffic.stop()
        row: Row = {"pair": pair, "client": client, "side": side, "first": first}
        row |= {"wall_s": round(line.wall_s, 2), "cpu_percent": busy, "idle_cpu_percent": idle}
        row |= {"active_controller": leader, "elections": quorum_leader(cluster.bootstrap)[1] - epoch}
        row |= traffic.figures(since)
        return row | {"decide_s": round(line.decide_s, 2), "nodes": [rounded(node) for node in line.nodes]}


def rounded(phases: Any) -> dict[str, Any]:
    return {
        name: round(value, 2) if isinstance(value := getattr(phases, name), float) else value
        for name in phases.__slots__
    }


def wait_quiet() -> float:
    """Share of the whole machine that is busy with nothing under way; goes on after a minute, and the row says so."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        busy = psutil.cpu_percent(interval=LOOK_SECONDS)
        if busy < QUIET_PERCENT or time.monotonic() > deadline:
            return busy


def test_roll(tmp_path: Path) -> None:
    start = {SETTING: str(FIRST_VALUE)}
    with (
        running_sandbox(tmp_path / "state", "bench-roll", operator=True) as sandbox,
        hand_made(tmp_path / "plain", VERSION, HEAP_MIB) as plain,
    ):
        ours = Operated(sandbox, VERSION, HEAP_MIB)
        ours.create(start)
        for cluster in (plain, ours):
            cluster.create_topic(TOPIC, PARTITIONS, TOPIC_CONFIG)
        rolls = Rolls(plain, ours, tmp_path / "traffic")
        for side in SIDES:
            rolls.uncounted(side)
        rows: list[Row] = []
        for pair in range(1, PAIRS + 1):
            for at, client in enumerate(CLIENTS):
                order = SIDES if (pair + at) % 2 else tuple(reversed(SIDES))
                for side in order:
                    rows.append(rolls.measured(side, client, pair, first=side == order[0]))
                    print(f"\n{table(rows[-1:]).splitlines()[1]}", end="", flush=True)
    targets = verdicts(rows)
    print(f"\n\n{table(rows)}")
    outcomes = {
        "setting": {"heap_mib": HEAP_MIB, "version": VERSION, "records_per_second": RATE, "partitions": PARTITIONS},
        "pairs": PAIRS,
        "targets": targets,
        "median_ratios": ratios(rows),
        "median_phases_s": {side: medians_of_phases(rows, side) for side in SIDES},
        "rows": rows,
    }
    write_record("bench-roll", passed=all(one["met"] for one in targets), outcomes=outcomes)
    PAGE.write_text(with_table(PAGE.read_text(), {"outcomes": outcomes}))
    assert all(row["complete"] for row in rows), "a row was not measured to its end"
    assert all(one["met"] for one in targets if one["at_most"] == 0), [one for one in targets if not one["met"]]
