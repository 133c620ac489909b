"""docs/placement.md: its commands run, its tables are those of the record, and the baseline does what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support.cli_tree import run
from support.evidence import EVIDENCE, ROOT, problems
from support.infima import Infima, run_until_empty
from support.placement_bench import LAYOUTS, with_tables
from support.shard_oracle import faults

PAGE = ROOT / "docs" / "placement.md"
RECORD = EVIDENCE / "bench-placement.json"


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 5
    for line in lines:
        command, _, file = line.partition(" > ")
        done = run(shlex.split(command)[1:])
        assert done.code == 0, (line, done.stderr)
        if file:
            Path(file).write_text(done.stdout)


def test_the_tables_are_those_of_the_record() -> None:
    record = json.loads(RECORD.read_text())
    assert problems(record) == []
    page = PAGE.read_text()
    assert with_tables(page, record) == page, "run make bench-placement, or git checkout its record"
    record["outcomes"]["large"]["seconds"] = [1000.0] * 3
    assert with_tables(page, record) != page, "control: another figure is another page"


def test_the_record_reached_every_optimum_in_time() -> None:
    outcomes = json.loads(RECORD.read_text())["outcomes"]
    assert {row["layout"] for row in outcomes["shards"]} == {layout.name for layout in LAYOUTS}
    assert all(row["ours"] == row["optimum"] > 0 for row in outcomes["shards"])
    assert max(outcomes["large"]["seconds"]) < 60
    assert sorted(outcomes["large"]["one_more_ms"])[len(outcomes["large"]["one_more_ms"]) * 95 // 100] < 10


def test_the_baseline_keeps_overlap_and_issues_undersized_shards() -> None:
    """Of these 40 runs 25 issue a shard without a zone, and say nothing."""
    layout = LAYOUTS[0]
    found = [
        run_until_empty(Infima(layout.cells, layout.per_cell, layout.overlap, seed), layout.size, 2 * layout.optimum)
        for seed in range(40)
    ]
    assert sum(undersized > 0 for _, undersized in found) == 25
    assert all(whole < layout.optimum for whole, _ in found)
    sharder = Infima(layout.cells, layout.per_cell, layout.overlap, 0)
    first = [sharder.next() for _ in range(20)]
    assert faults(first, size=3, overlap=1, brokers=range(18)) == []
