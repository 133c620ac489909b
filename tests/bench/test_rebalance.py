"""`make bench-rebalance`: Kafka's own `kafka-reassign-partitions --generate` beside `kfleet rebalance plan`, and how
the time and the memory of ours grow.

The tool asks a real cluster of twelve brokers (support/reassign_tool.py), which has the same topics that our files say.
Both are whole programs: a Java and a Python that start, read, plan and print. They take turns, PAIRS (5) times, and who
goes first changes from pair to pair; the tool begins at a random broker, so its moves differ from run to run. What ours
proposes for the first layout is carried out by the tool in the end, and read back.

The record with its raw rows goes to docs/evidence/bench-rebalance.json, its tables to docs/rebalancing.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support.evidence import ROOT, write_record
from support.reassign_tool import Brokers, many_brokers
from support.rebalance_layouts import Layout, Replicas, outcome, with_tables

PAIRS = int(os.environ.get("PAIRS") or 5)
VERSION = os.environ.get("VERSION") or "4.3.1"
SEEDS, MILLION_SEEDS = (1, 2, 3), (1,)
KFLEET = Path(sys.executable).parent / "kfleet"
PAGE = ROOT / "docs" / "rebalancing.md"

SMALL: tuple[tuple[Layout, str], ...] = (
    (Layout("three of twelve brokers are new", 300, 12, 3, 9), "balance"),
    (Layout("placed without regard to racks", 300, 12, 3, 12, "random"), "balance"),
    (Layout("one broker goes", 300, 12, 3, 12), "drain:11"),
)
LARGE: tuple[tuple[Layout, tuple[str, ...]], ...] = (
    (Layout("20,000", 20_000, 100, 3, 90), ("balance", "bytes", "leaders", "drain:1,2,3")),
    (Layout("20,000", 20_000, 100, 5, 90), ("balance",)),
    (Layout("20,000", 20_000, 100, 3, 90, "random"), ("balance", "racks")),
    (Layout("a million replicas", 333_334, 300, 3, 270), ("balance", "bytes", "drain:1,2,3")),
    (Layout("a million replicas", 333_334, 300, 5, 270), ("balance",)),
)


def test_beside_kafkas_tool_and_at_scale(tmp_path: Path) -> None:
    scale = [row for layout, goals in LARGE for row in at_scale(layout, goals, tmp_path)]
    with many_brokers(tmp_path, VERSION, [SMALL[0][0].rack(broker) for broker in range(12)]) as cluster:
        tool = [row for number, (layout, goal) in enumerate(SMALL) for row in compared(cluster, number, layout, goal)]
        executed = carried_out(cluster, tmp_path)
    outcomes = {"kafka": VERSION, "pairs": PAIRS, "executed": executed, "tool": tool, "scale": scale}
    passed = executed["equal"] and all(row["narrow"] == 0 for row in tool if row["side"] == "kfleet")
    path = write_record("bench-rebalance", passed=passed, outcomes=outcomes)
    PAGE.write_text(with_tables(PAGE.read_text(), {"outcomes": outcomes}))
    print(f"\nrecord: {path.relative_to(ROOT)}; tables: {PAGE.relative_to(ROOT)}")
    assert passed


def at_scale(layout: Layout, goals: tuple[str, ...], directory: Path) -> list[dict[str, Any]]:
    rows = []
    for seed in SEEDS if layout.partitions < 100_000 else MILLION_SEEDS:
        options = layout.write(directory, seed)
        for goal in goals:
            plan, seconds, peak_mib = planned(directory, [*options, "--goal", goal])
            rows.append(
                {
                    "partitions": layout.partitions,
                    "brokers": layout.brokers,
                    "racks": layout.racks,
                    "placement": layout.placement,
                    "goal": goal,
                    "seed": seed,
                    **{name: plan[name] for name in ("objective", "moves", "bytes", "bound", "gap")},
                    "reordered": len(plan["reassignment"]["partitions"]),
                    "seconds": round(seconds, 2),
                    "peak_mib": peak_mib,
                }
            )
            print(rows[-1], flush=True)
    return rows


def planned(directory: Path, options: list[str]) -> tuple[dict[str, Any], float, int]:
    """The JSON of `kfleet rebalance plan`, the seconds it took from start to end, and its peak memory in MiB.

    Linux counts what the process had before it became another program, so this bench's own memory is the least seen.
    """
    answer = directory / "plan.json"
    started = time.perf_counter()
    with answer.open("w") as out:
        process = subprocess.Popen([KFLEET, "rebalance", "plan", *options, "-o", "json"], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return json.loads(answer.read_text()), seconds, usage.ru_maxrss // 1024


def compared(cluster: Brokers, number: int, layout: Layout, goal: str) -> list[dict[str, Any]]:
    """Both on the same topic in turn. Alone on it: the tool plans topic by topic."""
    topic = f"topic-{number}"
    cluster.create(topic, layout.replicas(seed=number))
    before = cluster.assignment(topic)
    left = [b for b in range(layout.brokers) if str(b) not in goal.partition(":")[2].split(",")]
    rows: list[dict[str, Any]] = []
    for pair in range(PAIRS):
        for side in ("generate", "kfleet") if pair % 2 == 0 else ("kfleet", "generate"):
            started = time.perf_counter()
            if side == "generate":
                proposed = cluster.generate(topic, left)
                seconds = time.perf_counter() - started
            else:
                options = files(cluster.directory, topic, before, layout)
                plan, seconds, _ = planned(cluster.directory, [*options, "--goal", goal])
                proposed = plan["reassignment"]
            found = outcome(layout, before, after(before, proposed))
            rows.append({"layout": layout.name, "goal": goal, "side": side, "pair": pair, **found})
            rows[-1]["seconds"] = round(seconds, 2)
            print(rows[-1], flush=True)
    return rows


def carried_out(cluster: Brokers, directory: Path) -> dict[str, Any]:
    """Ours for the first layout, by `--execute`: whether the cluster is as planned afterwards."""
    (layout, goal), topic = SMALL[0], "topic-0"
    before = cluster.assignment(topic)
    plan, _, _ = planned(directory, [*files(directory, topic, before, layout), "--goal", goal])
    said = cluster.execute(plan["reassignment"])
    now = cluster.assignment(topic)
    left = planned(directory, [*files(directory, topic, now, layout), "--goal", goal])[0]["moves"]
    return {
        "moves": plan["moves"],
        "verified": said.count("is completed"),
        "equal": now == after(before, plan["reassignment"]) and left == 0,
    }


def files(directory: Path, topic: str, replicas: list[Replicas], layout: Layout) -> list[str]:
    """The cluster's own assignment and brokers as our files."""
    partitions = [{"topic": topic, "partition": at, "replicas": list(one)} for at, one in enumerate(replicas)]
    (directory / "a.json").write_text(json.dumps({"version": 1, "partitions": partitions}))
    brokers = [{"id": b, "rack": layout.rack(b)} for b in range(layout.brokers)]
    (directory / "b.json").write_text(json.dumps(brokers))
    return ["--assignment", str(directory / "a.json"), "--brokers", str(directory / "b.json")]


def after(before: list[Replicas], reassignment: dict[str, Any]) -> list[Replicas]:
    found = list(before)
    for entry in reassignment["partitions"]:
        found[entry["partition"]] = tuple(entry["replicas"])
    return found
