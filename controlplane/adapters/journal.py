"""Journal files: one writer that never makes its caller wait for a disk, and a reader."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from controlplane.domain.accounting import Account, account
from controlplane.domain.canary import CanaryError, Event
from controlplane.domain.journal import JournalReader


class JournalWriter:
    """Appends lines to a new file.

    `write` only appends to a deque, from any thread; one thread of ours hands them to the system every `interval`
    seconds, so a crash of the process costs at most that much (acknowledgements forgotten, never invented). `close`
    syncs to the disk.
    """

    def __init__(self, path: Path, *, interval: float = 0.1) -> None:
        """Raises CanaryError if the file exists (it is evidence) or cannot be made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("x", encoding="ascii")
        except FileExistsError:
            raise CanaryError(f"journal {path} exists already; it is evidence: give another name or move it") from None
        except OSError as error:
            raise CanaryError(f"cannot write journal {path}: {error.strerror}") from error
        self.path = path
        self._interval = interval
        self._lines: deque[str] = deque()
        self._error: OSError | None = None
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        self._lines.append(line)

    def check(self) -> None:
        """Raises CanaryError once a write has failed: a canary without a journal proves nothing."""
        if self._error is not None:
            raise CanaryError(f"cannot write journal {self.path}: {self._error.strerror}")

    def sync(self) -> None:
        """Everything written so far is on the disk. Raises CanaryError."""
        self._flush(to_disk=True)
        self.check()

    def close(self) -> None:
        """Syncs and closes; a file nothing was written to is removed. May be called again. Raises CanaryError."""
        self._closing.set()
        self._thread.join()
        if not self._file.closed:
            self._flush(to_disk=True)
            if self._file.tell() == 0:
                self.path.unlink(missing_ok=True)
            self._file.close()
        self.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            self._flush()

    def _flush(self, *, to_disk: bool = False) -> None:
        with self._guard:
            ready = [self._lines.popleft() for _ in range(len(self._lines))]
            try:
                self._file.write("".join(ready))
                self._file.flush()
                if to_disk:
                    os.fsync(self._file.fileno())
            except OSError as error:
                self._error = error


def account_journals(paths: Sequence[Path], *, warm_up_s: float) -> tuple[Account, list[JournalReader]]:
    """Accounts for all `paths` together (journals of one run are merged by its id). Streams; raises CanaryError,
    JournalError, AccountingError."""
    readers: list[JournalReader] = []

    def events() -> Iterator[Event]:
        for path in paths:
            readers.append(JournalReader(str(path)))
            try:
                with path.open(encoding="utf-8", errors="replace") as lines:
                    yield from readers[-1].events(lines)
            except OSError as error:
                raise CanaryError(f"cannot read journal {path}: {error.strerror}") from error

    return account(events(), warm_up_s=warm_up_s), readers
