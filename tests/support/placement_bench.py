"""What the placement benchmark runs, and the tables it makes of its record for docs/placement.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.infima import Infima
from support.pages import with_part

from controlplane.domain.placement import arrays, codes, families, fields, occupancy, packings
from controlplane.domain.placement.fresh import assign
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import Broker, Fleet, Shard, ShardRule

CACHES = (
    arrays._recipe,
    arrays._difference,
    codes.largest_code,
    families.families,
    fields.cyclic,
    fields.field,
    occupancy._pool,
    packings.largest_packing,
)


@dataclass(frozen=True)
class Layout:
    """Cells of brokers and a shard of `per_cell` from each; `optimum` shards there can be."""

    name: str
    sizes: tuple[int, ...]
    per_cell: int
    overlap: int
    optimum: int

    @property
    def size(self) -> int:
        return self.per_cell * len(self.sizes)

    @property
    def cells(self) -> list[range]:
        starts = [sum(self.sizes[:at]) for at in range(len(self.sizes))]
        return [range(start, start + size) for start, size in zip(starts, self.sizes, strict=True)]

    @property
    def fleet(self) -> Fleet:
        return Fleet(tuple(Broker(broker, f"z{at}") for at, cell in enumerate(self.cells) for broker in cell))

    @property
    def rule(self) -> ShardRule:
        return ShardRule(self.size, self.overlap)


LAYOUTS = (
    Layout("3 zones of 6, k=3, t=1", (6, 6, 6), 1, 1, 36),
    Layout("3 zones of 10, k=3, t=1", (10, 10, 10), 1, 1, 100),
    Layout("4 zones of 10, k=4, t=1", (10, 10, 10, 10), 1, 1, 100),
    Layout("9 brokers, k=3, t=1", (9,), 3, 1, 12),
    Layout("15 brokers, k=3, t=1", (15,), 3, 1, 35),
    Layout("13 brokers, k=4, t=1", (13,), 4, 1, 13),
    Layout("28 brokers, k=4, t=1", (28,), 4, 1, 63),
    Layout("10 brokers, k=4, t=2", (10,), 4, 2, 30),
    Layout("20 brokers, k=4, t=2", (20,), 4, 2, 285),
)
LARGE = Layout("1,000 brokers in 3 zones, k=3, t=1", (334, 333, 333), 1, 1, 333 * 333)


def forget() -> None:
    """As in a process that has just been started: nothing of a family is remembered."""
    for cache in CACHES:
        cache.cache_clear()


def timed_ours(layout: Layout, tenants: int) -> tuple[float, list[Shard]]:
    forget()
    started = time.perf_counter()
    found = assign(layout.fleet, layout.rule, [f"t{at}" for at in range(tenants)])
    return time.perf_counter() - started, list(found.shards.values())


def timed_theirs(layout: Layout, tenants: int, seed: int) -> tuple[float, Infima, int]:
    """Seconds, the sharder, and how many of its shards are undersized."""
    sharder = Infima(layout.cells, layout.per_cell, layout.overlap, seed)
    started = time.perf_counter()
    undersized = sum(len(sharder.next()) < layout.size for _ in range(tenants))
    return time.perf_counter() - started, sharder, undersized


def occupied(layout: Layout, shards: Sequence[Shard]) -> tuple[float, Occupancy]:
    """Seconds to know all shards there are, once a start, and what knows them."""
    started = time.perf_counter()
    known = Occupancy(layout.fleet, (Held(f"t{at}", shard, layout.rule) for at, shard in enumerate(shards)))
    return time.perf_counter() - started, known


def one_more(known: Occupancy, rule: ShardRule, times: int) -> list[float]:
    """Milliseconds of each of so many placements of one more tenant."""
    found = []
    for at in range(times):
        started = time.perf_counter()
        placed = known.place(f"new{at}", rule)
        found.append((time.perf_counter() - started) * 1000)
        assert placed.within
    return found


def tables(record: Mapping[str, Any]) -> str:
    outcomes = record["outcomes"]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in outcomes["shards"]:
        groups.setdefault(row["layout"], []).append(row)
    lines = [
        "| layout | optimum | kfleet | Infima, re-derived: median (least to most) | of the optimum | undersized in |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for layout, rows in groups.items():
        whole = [row["theirs"] for row in rows]
        optimum, ours = rows[0]["optimum"], min(row["ours"] for row in rows)
        middle = statistics.median(whole)
        bad = sum(row["undersized"] > 0 for row in rows)
        lines.append(
            f"| {layout} | {optimum} | {ours} | {middle:g} ({min(whole)} to {max(whole)}) | {middle / optimum:.0%} "
            f"| {bad} of {len(rows)} |"
        )
    lines += [
        "",
        "| 1,000 brokers in 3 zones, k=3, t=1 | kfleet | Infima, re-derived | ratio |",
        "| --- | --- | --- | --- |",
    ]
    pairs = outcomes["pairs"]
    ours, theirs = (statistics.median(pair[name] for pair in pairs) for name in ("ours_seconds", "theirs_seconds"))
    lines.append(
        f"| {outcomes['pair_tenants']:,} tenants at once | {ours:.2f} s | {theirs:.2f} s | {theirs / ours:.2f} |"
    )
    ours, theirs = (
        statistics.median(pair[name] for pair in pairs) for name in ("ours_one_more_ms", "theirs_one_more_ms")
    )
    lines.append(f"| one more after these | {ours:.2f} ms | {theirs:.2f} ms | {theirs / ours:.2f} |")
    large = outcomes["large"]
    lines.append(f"| 100,000 tenants at once | {statistics.median(large['seconds']):.1f} s | - | - |")
    lines.append(f"| reading these shards, once a start | {statistics.median(large['read_seconds']):.1f} s | - | - |")
    steady = sorted(large["one_more_ms"])
    lines.append(
        f"| one more after these: median, 95 of 100, worst | {statistics.median(steady):.2f}, "
        f"{steady[len(steady) * 95 // 100]:.2f}, {steady[-1]:.2f} ms | - | - |"
    )
    lines.append(f"| the first one more after a start | {statistics.median(large['first_ms']):.0f} ms | - | - |")
    return "\n".join(lines)


def with_tables(page: str, record: Mapping[str, Any]) -> str:
    """The page with the record's tables. Raises ValueError when a mark is missing."""
    return with_part(page, "bench-placement", tables(record))
