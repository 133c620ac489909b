"""Two operators and ten command lines write at once, as real processes, on both databases: the counts are exact."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import support.ledger_writer as writer
from support.ledger_fixtures import ledger_url, postgres

from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger

__all__ = ["ledger_url", "postgres"]

CLUSTERS, COMMANDS, EVENTS = 5, 10, 15
PROCESS_SECONDS = 240


def test_two_operators_and_ten_command_lines(ledger_url: str, tmp_path: Path) -> None:
    SqlLedger(ledger_url, timeout=60, migrate=True).remove_older_than(0)
    barrier = tmp_path / "go"
    roles = [*[("operator", CLUSTERS)] * 2, *[("command", EVENTS)] * COMMANDS]
    environment = os.environ | {"PYTHONPATH": str(Path(writer.__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", writer.__name__, role, ledger_url, str(number), str(count), str(barrier)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number, (role, count) in enumerate(roles)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    barrier.touch()
    for process in processes:
        _, said = process.communicate(timeout=PROCESS_SECONDS)
        assert (process.returncode, said) == (0, "")

    entries = list(LedgerReader(ledger_url, timeout=60).stream(Wanted()))
    assert Counter(entry.source for entry in entries) == {
        "event": COMMANDS * EVENTS,
        "begin": CLUSTERS,
        "step": CLUSTERS * writer.STEPS,
        "end": CLUSTERS,
    }
    assert len({(entry.actor, entry.subject) for entry in entries if entry.source == "event"}) == COMMANDS * EVENTS
    assert {entry.outcome for entry in entries if entry.source == "end"} == {"Succeeded"}
