"""Clusters on paper for rebalances, what a reassignment of one costs and leaves, and the tables of the record.

Replicas of RF 3. Rack-aware: in three different racks, as Kafka places topics of brokers with racks; random: on any
three brokers, as it is when racks came later. Sizes are log-normal around 2 GB: most are small, few are large.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from support.pages import with_part

Replicas = tuple[int, ...]

_RF, _TOPIC = 3, 50


@dataclass(frozen=True)
class Layout:
    """Broker b is in rack b modulo `racks`; the first `used` have replicas, the others are new."""

    name: str
    partitions: int
    brokers: int
    racks: int
    used: int
    placement: str = "rack-aware"

    def rack(self, broker: int) -> str:
        return f"rack-{broker % self.racks}"

    def replicas(self, seed: int) -> list[Replicas]:
        rng, used = Random(seed), range(self.used)
        by_rack = [[b for b in used if b % self.racks == rack] for rack in range(self.racks)]
        if self.placement == "random":
            return [tuple(rng.sample(used, _RF)) for _ in range(self.partitions)]
        return [
            tuple(rng.choice(by_rack[rack]) for rack in rng.sample(range(self.racks), _RF))
            for _ in range(self.partitions)
        ]

    def write(self, directory: Path, seed: int) -> list[str]:
        """The files of `kfleet rebalance plan`, and the options that name them."""
        rng = Random(seed)
        names = [(f"topic-{at // _TOPIC}", at % _TOPIC) for at in range(self.partitions)]
        partitions = [
            {"topic": topic, "partition": partition, "replicas": list(replicas)}
            for (topic, partition), replicas in zip(names, self.replicas(seed), strict=True)
        ]
        files = {
            "assignment": {"version": 1, "partitions": partitions},
            "brokers": [{"id": b, "rack": self.rack(b), "weight": 1.0} for b in range(self.brokers)],
            "sizes": {f"{topic}-{partition}": int(rng.lognormvariate(21.4, 1.5)) for topic, partition in names},
        }
        options = []
        for name, content in files.items():
            file = directory / f"{name}.json"
            file.write_text(json.dumps(content))
            options += [f"--{name}", str(file)]
        return options


def outcome(layout: Layout, before: Sequence[Replicas], after: Sequence[Replicas]) -> dict[str, int]:
    """`moves` are replicas on brokers that had none; `spread` the most less the least replicas of the brokers that are
    used afterwards; `narrow` partitions in fewer racks than they have replicas."""
    held = Counter(broker for replicas in after for broker in replicas)
    return {
        "moves": sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True)),
        "spread": max(held.values()) - min(held.values()),
        "narrow": sum(len({layout.rack(b) for b in replicas}) < min(_RF, layout.racks) for replicas in after),
    }


def with_tables(page: str, record: Mapping[str, Any]) -> str:
    """The page with the record's tables. Raises ValueError when a mark is missing."""
    page = with_part(page, "bench-rebalance tool", _tool_table(record))
    return with_part(page, "bench-rebalance scale", _scale_table(record))


def _tool_table(record: Mapping[str, Any]) -> str:
    lines = [
        "| layout | goal | planned by | replicas moved | spread afterwards | partitions short of a rack | planned in |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (layout, goal, side), rows in _groups(record["outcomes"]["tool"], "layout", "goal", "side").items():
        moves, spread, narrow = (_median(rows, name) for name in ("moves", "spread", "narrow"))
        seconds = statistics.median(row["seconds"] for row in rows)
        lines.append(f"| {layout} | {goal} | {side} | {moves} | {spread} | {narrow} | {seconds:.1f} s |")
    return "\n".join(lines)


def _scale_table(record: Mapping[str, Any]) -> str:
    lines = [
        (
            "| partitions | brokers | racks | placement | goal | moved | gap to the bound | planned in "
            "| peak memory, at most |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    keys = ("partitions", "brokers", "racks", "placement", "goal")
    for (partitions, brokers, racks, placement, goal), rows in _groups(record["outcomes"]["scale"], *keys).items():
        seconds = statistics.median(row["seconds"] for row in rows)
        memory = max(row["peak_mib"] for row in rows)
        moved, gap = _moved(rows)
        lines.append(
            f"| {partitions:,} | {brokers} | {racks} | {placement} | {goal} | {moved} | {gap} | {seconds:.1f} s | "
            f"{memory:,} MiB |"
        )
    return "\n".join(lines)


def _moved(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Median of what the goal has the least of, and the largest gap as part of the bound."""
    objective = rows[0]["objective"]
    gap = max(row["gap"] / row["bound"] if row["bound"] else 0.0 for row in rows)
    shown = f"{gap:.4%}" if gap else "0"
    if rows[0]["goal"] == "leaders":
        return f"{_median(rows, 'reordered'):,} orders", shown
    if objective == "bytes":
        return f"{_median(rows, 'bytes') / 2**40:.1f} TiB", shown
    return f"{_median(rows, 'moves'):,} replicas", shown


def _groups(rows: Sequence[Mapping[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    return statistics.median_low(row[name] for row in rows)
