"""What /proc says about a process. A process id alone may be reused; (pid, start time, boot id) never is."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

STATE_FIELD, PARENT_FIELD, START_FIELD = 0, 1, 19
"""Positions after the command name in /proc/<pid>/stat (proc(5): fields 3, 4 and 22)."""


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the command name (which may hold spaces); None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process started; None for no process or a zombie."""
    fields = stat_fields(pid)
    return None if fields is None or fields[STATE_FIELD] in "ZX" else int(fields[START_FIELD])


def alive(pid: int, started: int) -> bool:
    """Whether this very process still runs (zombies do not)."""
    return pid > 0 and start_time(pid) == started


def moves(pid: int) -> bool:
    """Whether any thread of it is neither stopped nor ended."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False
    for thread in threads:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (thread / "stat").read_text().rpartition(")")[2].split()[STATE_FIELD] not in "TtZX":
                return True
    return False


def descendants(pid: int) -> list[int]:
    """All living descendants of `pid`, parents before children, without `pid` itself."""
    children: dict[int, list[int]] = {}
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if name.isdigit() and (fields := stat_fields(int(name))) and fields[STATE_FIELD] not in "ZX":
            children.setdefault(int(fields[PARENT_FIELD]), []).append(int(name))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(0), [])
        found += below
        pending += below
    return found


def send(pid: int, started: int, number: signal.Signals) -> bool:
    """Signal this very process, without the race of a reused pid; False when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def kill_tree(pid: int) -> None:
    """SIGKILL every descendant of `pid`, deepest last, so that none can start another meanwhile."""
    for victim in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
