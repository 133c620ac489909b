"""What people do with the CLI, in the ledger before it is done: who, what, to which object.

A command whose record the ledger does not take is refused. The few that must always work (`urgent`: cancelling,
fencing, pausing) are written to a local journal instead, and go to the ledger with the next command that reaches it.
What the ledger will never take is set aside then, in a file beside the journal.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import AuditEvent, LedgerError, LedgerWriter

TIMEOUT_SECONDS = 5.0


def journal_path() -> Path:
    """Where urgent commands are kept while the ledger is away."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "kfleet" / "unrecorded.jsonl"


def rejected_path() -> Path:
    """Where lines of it are kept that no ledger takes."""
    return journal_path().with_suffix(".rejected.jsonl")


def record_cli_event(
    url: str,
    *,
    actor: str,
    action: str,
    subject: str,
    cell: str = "",
    operation: str = "",
    detail: Mapping[str, Any] | None = None,
    urgent: bool = False,
    say: Callable[[str], None] = lambda _: None,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Record it, or raise LedgerError: then nothing may be done. No `url`: no ledger is kept, and all is allowed.

    `actor` is the user as the API server knows them. `urgent`: with the ledger away it is journalled locally and said;
    where that cannot be either, it is only said.
    """
    if not url:
        return
    known = dict(detail or {}) | {"cell": cell, "operation": operation}
    event = AuditEvent(str(uuid.uuid4()), time.time(), actor, action, subject, known)
    try:
        ledger = SqlLedger(url, timeout=timeout)
        try:
            _send_journal(ledger, say)
            ledger.record_event(event)
        finally:
            ledger.close()
    except LedgerError as error:
        if not urgent:
            raise LedgerError(f"nothing was done, because it has to be recorded first: {error.message}") from None
        try:
            _journal(event)
        except OSError as unwritable:
            say(f"{error.message}; it is recorded nowhere, because {journal_path()} cannot be written: {unwritable}")
        else:
            say(f"{error.message}; it is in {journal_path()} and goes to the ledger with a later command")


def _journal(event: AuditEvent) -> None:
    """Raises OSError."""
    with _open(journal_path()) as descriptor:
        _append(descriptor, json.dumps(asdict(event)).encode() + b"\n")


def _send_journal(ledger: LedgerWriter, say: Callable[[str], None]) -> None:
    """Raises LedgerError; what was sent and not yet removed is sent again later, and recorded once."""
    try:
        if not journal_path().exists():
            return
        with _open(journal_path()) as descriptor:
            with open(descriptor, "rb", closefd=False) as journal:
                waiting = [line for line in journal if line.strip()]
            refused = [(line, why) for line in waiting if (why := _refusal(ledger, line))]
            if refused:
                with _open(rejected_path()) as aside:
                    _append(aside, b"".join(line.rstrip(b"\n") + b"\n" for line, _ in refused))
            os.ftruncate(descriptor, 0)
    except OSError as error:
        say(f"what waits in {journal_path()} is not recorded now: {error}")
        return
    for _, why in refused:
        say(f"an earlier command will never be in the ledger and is set aside in {rejected_path()}: {why}")


def _refusal(ledger: LedgerWriter, line: bytes) -> str:
    """Why the ledger will never take this line; empty: it has it. Raises LedgerError when it may take it later."""
    try:
        ledger.record_event(AuditEvent(**json.loads(line)))
    except LedgerError as error:
        if error.retriable:
            raise
        return error.message
    except (ValueError, TypeError, OverflowError) as error:
        return f"it cannot be read ({error})"
    return ""


def _append(descriptor: int, lines: bytes) -> None:
    with open(descriptor, "ab", closefd=False) as end:
        end.write(lines)
    os.fsync(descriptor)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """Nobody else reads or writes it meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
