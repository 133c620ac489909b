"""`make bench-batches`: how many batches a roll takes against what is proven to be the least, and how long it plans.

The record goes to docs/evidence/bench-batches.json and its table to docs/rolling.md. Every batch is put before the
evaluator of the property tests, which shares no code with the planner.
"""

from __future__ import annotations

import time

from property.evaluator import harm
from support.batch_layouts import Layout, with_table
from support.evidence import ROOT, write_record

from controlplane.domain.rolling.batches import plan_batches
from controlplane.domain.rolling.values import UnprotectedPolicy

SEEDS = (1, 2, 3)
REPLICAS_PER_BROKER = 100
PER_RACK = (2, 4, 20, 100)
LARGE = (334, 100_000)
PAGE = ROOT / "docs" / "rolling.md"


def layouts() -> list[Layout]:
    return [
        Layout(per_rack, partitions, placement)
        for per_rack, partitions in (*((size, size * REPLICAS_PER_BROKER) for size in PER_RACK), LARGE)
        for placement in ("rack-aware", "random")
    ]


def test_batches_against_the_lower_bound() -> None:
    rows = []
    harms: list[str] = []
    for layout in layouts():
        for declared in ("100%", "10%"):
            limit = max(1, layout.brokers * int(declared[:-1]) // 100)
            for seed in SEEDS:
                observation = layout.observe(seed)
                started = time.perf_counter()
                found = plan_batches(observation, range(layout.brokers), limit, UnprotectedPolicy.BLOCK)
                seconds = time.perf_counter() - started
                if layout.per_rack in PER_RACK:
                    harms += [text for batch in found.batches for text in harm(observation, set(batch), accept=False)]
                rows.append(
                    {
                        "layout": f"3x{layout.per_rack}",
                        "placement": layout.placement,
                        "brokers": layout.brokers,
                        "partitions": layout.partitions,
                        "max_unavailable": declared,
                        "seed": seed,
                        "batches": len(found.batches),
                        "lower_bound": found.lower_bound,
                        "exact": found.exact,
                        "seconds": round(seconds, 3),
                    }
                )
                print(rows[-1])
                assert not found.held
                assert sorted(node for batch in found.batches for node in batch) == list(range(layout.brokers))
    outcomes = {"replication_factor": 3, "min_isr": 2, "harmful_batches": len(harms), "rows": rows}
    path = write_record("bench-batches", passed=not harms, outcomes=outcomes)
    PAGE.write_text(with_table(PAGE.read_text(), {"outcomes": outcomes}))
    print(f"\nrecord: {path.relative_to(ROOT)}; table: {PAGE.relative_to(ROOT)}")
    assert harms == []
