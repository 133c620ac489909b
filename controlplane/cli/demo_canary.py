"""The canary as a process of the demo's own: nothing the demo does can disturb what is measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controlplane.cli.errors import CliError

WARM_UP_SECONDS = 5.0
CONNECT_SECONDS = 60.0
DRAIN_SECONDS = 600.0
"""A million records and more are read back, on whatever machine this is; too short would look like loss."""
STOP_SECONDS = 2 * DRAIN_SECONDS
LONGEST_SECONDS = 7200
"""The canary ends by itself after this, should the demo be killed without a chance to stop it."""
_ACK = b'["ack",'


class CanaryProcess:
    """Started on entering, stopped on leaving whatever happens. `login`: where a user's Secret is, as files."""

    def __init__(self, login: Path, topic: str, rate: int, directory: Path, name: str) -> None:
        self.journal = directory / f"{name}.jsonl"
        self.log = directory / f"{name}.log"
        self._result = directory / f"{name}.result.json"
        self._command = [sys.executable, "-m", "controlplane.cli.canary", "run", "--output", "json"]
        self._command += ["--config", str(login), "--topic", topic, "--rate", str(rate)]
        self._command += ["--journal", str(self.journal), "--warm-up", str(WARM_UP_SECONDS)]
        self._command += ["--duration", str(LONGEST_SECONDS)]
        self._command += ["--connect-timeout", str(CONNECT_SECONDS), "--drain-timeout", str(DRAIN_SECONDS)]
        # Read only after the last write: a record that was read and then lost to truncation would pass as kept.
        self._command += ["--read", "end"]
        self._process: subprocess.Popen[bytes] | None = None
        self._looked_at = 0

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log, self._result.open("wb") as result:
            self._process = subprocess.Popen(self._command, stdout=result, stderr=log, start_new_session=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raises CliError if it has ended before it was told to."""
        if self._process is not None and self._process.poll() is not None:
            raise CliError(f"the canary ended by itself: {self.last_line()} (all of it: {self.log})")

    def flowing(self) -> bool:
        """Records have been acknowledged, after however many were only sent. Each look goes on where the last ended."""
        self.check()
        if not self.journal.exists():
            return False
        with self.journal.open("rb") as file:
            file.seek(self._looked_at)
            news = file.read()
            self._looked_at = max(0, file.tell() - len(_ACK))
        return _ACK in news

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1].removeprefix("kfleet-canary: ") if lines else "no output yet"

    def stop(self) -> dict[str, Any]:
        """Tells it to stop, waits until it has read to the log's end, and returns its account. Raises CliError."""
        if self._process is None:
            raise CliError("the canary was never started")
        self.check()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise CliError(f"the canary did not end within {STOP_SECONDS:g} s; see {self.log}") from None
        try:
            account: dict[str, Any] = json.loads(self._result.read_text())
        except ValueError:
            raise CliError(f"the canary gave no account: {self.last_line()} (all of it: {self.log})") from None
        return account
