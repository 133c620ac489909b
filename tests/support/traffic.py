"""The canary as a process of a test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from controlplane.domain.canary import NEW_EPOCH

CONNECT_SECONDS = 60.0
DRAIN_SECONDS = 300.0
STOP_SECONDS = 2 * DRAIN_SECONDS
"""None of these is judged: they end a run that hangs, on however slow a machine."""


ENOUGH = 200
"""Acknowledgements that make a flow."""


class Traffic:
    """Records at a steady rate from `start` to `stop`, journalled; `account` says what became of them."""

    def __init__(self, bootstrap: str, topic: str, journal: Path, rate: int = 300) -> None:
        self.journal = journal
        self._log = journal.with_suffix(".log").open("ab")
        self._process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "kfleet-canary"),
                "run",
                "--bootstrap",
                bootstrap,
                "--topic",
                topic,
                "--rate",
                str(rate),
                "--journal",
                str(journal),
                # Read only after the last write: a record that was read and then lost to truncation would count.
                "--read",
                "end",
                "--connect-timeout",
                str(CONNECT_SECONDS),
                "--drain-timeout",
                str(DRAIN_SECONDS),
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def wait_flowing(self, timeout: float = 180.0) -> None:
        """Until acknowledgements are in the journal, not just records that were sent."""
        deadline = time.monotonic() + timeout
        while not (self.journal.exists() and len(self._lines("ack")) > ENOUGH):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no traffic: {self.journal.with_suffix('.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
        self._log.close()

    def words(self, lines: int = 15) -> str:
        """The end of what the canary said."""
        return "\n".join(self.journal.with_suffix(".log").read_text(errors="replace").splitlines()[-lines:])

    def assert_nothing_lost(self) -> None:
        """Stops it. Nothing acknowledged is gone, nothing changed its place, and the cluster wrote nothing twice.

        A log that was not read to its end says nothing about loss, and fails with the canary's reason.
        """
        self.stop()
        assert self.complete(), f"the canary could not find out: {self.words()}"
        account = self.account()
        seen = "\n".join([*self.copies(), json.dumps(account | {"stalls": len(account["stalls"])}), self.words()])
        assert account["acknowledged"] > 1000, seen
        assert (account["lost"], account["reordered"]) == (0, 0), seen
        assert account["duplicated"] == 0 or self.new_epochs(), seen

    def complete(self) -> bool:
        """Whether the canary ended in order, with every answer and at the log's end: its last line says so."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return bool(lines and lines[-1].startswith('{"summary"') and json.loads(lines[-1])["summary"]["complete"])

    def new_epochs(self) -> int:
        """Times the client took a new producer epoch: copies of what it had no answer for then are its own."""
        return sum(NEW_EPOCH in line for line in self._lines("note"))

    def copies(self) -> list[str]:
        """Every line of the journal about records that stand at more than one offset."""
        offsets: dict[tuple[int, int], set[int]] = {}
        for line in self._lines("read"):
            _, partition, sequence, offset, _ = json.loads(line)
            offsets.setdefault((partition, sequence), set()).add(offset)
        twice = {record for record, found in offsets.items() if len(found) > 1}
        about = [
            line for kind in ("ack", "read") for line in self._lines(kind) if tuple(json.loads(line)[1:3]) in twice
        ]
        return [*about, *self._lines("note")] if twice else []

    def _lines(self, kind: str) -> list[str]:
        return [line for line in self.journal.read_text().splitlines() if line.startswith(f'["{kind}"')]

    def account(self) -> dict[str, Any]:
        """The accounting, computed from the journal by a process of its own."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / "kfleet-canary"), "account", str(self.journal), "-o", "json"],
            capture_output=True,
            text=True,
            timeout=DRAIN_SECONDS,
            check=False,
        )
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document
