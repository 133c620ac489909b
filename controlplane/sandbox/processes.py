"""Processes that outlive the command that started them: found again by record, stopped by id only.

A record (`run/<part>.json`) holds pid, start time and boot id, so that a reused pid or a reboot is never mistaken for a
live part. Between start and record a crash can leave a process without one; it still carries the sandbox's marker in
its environment, and the next `up` or `down` finds it by that.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.files import write_private
from controlplane.sandbox.node import procfs

MARKER = "KFLEET_SANDBOX_ROOT"
"""Every part, and what it starts, carries this with the sandbox's root."""

LOG_LIMIT_BYTES = 20 * 2**20
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Part:
    """One process to run. `generation` is anything else whose change calls for a restart (configuration, code)."""

    name: str
    argv: tuple[str, ...]
    generation: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join([*self.argv, self.generation]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Running:
    """A live process of a part."""

    name: str
    pid: int
    start_time: int
    fingerprint: str = ""
    command: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        return procfs.alive(self.pid, self.start_time)


def find(paths: SandboxPaths, name: str) -> Running | None:
    """The part's process if it runs now, by its record."""
    try:
        record = json.loads(_record(paths, name).read_text())
        running = Running(name, int(record["pid"]), int(record["start_time"]), str(record["fingerprint"]))
        boot = record["boot_id"]
    except (OSError, ValueError, KeyError):
        return None
    return running if boot == procfs.boot_id() and running.alive else None


def ensure(paths: SandboxPaths, part: Part) -> Running:
    """Run `part`: adopt the process it has, unless that was started for something else, which is then stopped first."""
    running = find(paths, part.name)
    if running is not None and running.fingerprint == part.fingerprint:
        return running
    if running is not None:
        stop(running, part.stop_seconds)
    return _start(paths, part)


def stop(running: Running, seconds: float) -> None:
    """SIGTERM, SIGKILL after `seconds`. Raises SandboxError if it outlives that."""
    procfs.send(running.pid, running.start_time, signal.SIGTERM)
    procfs.send(running.pid, running.start_time, signal.SIGCONT)
    if not _ended(running, seconds):
        procfs.send(running.pid, running.start_time, signal.SIGKILL)
        if not _ended(running, KILL_SECONDS):
            raise SandboxError(f"{running.name} (pid {running.pid}) outlived SIGKILL; it hangs in the kernel")
    _reap(running.pid)


def forget(paths: SandboxPaths, name: str) -> None:
    _record(paths, name).unlink(missing_ok=True)


def strays(paths: SandboxPaths, is_part: Callable[[Sequence[str]], bool]) -> list[Running]:
    """Parts that run without a record; `is_part` judges a command line (what parts start carries the marker too)."""
    recorded = {running.pid for name in recorded_names(paths) if (running := find(paths, name))}
    return [running for running in marked(paths) if running.pid not in recorded and is_part(running.command)]


def recorded_names(paths: SandboxPaths) -> list[str]:
    """Every part that was started and not yet stopped on purpose, alive or not."""
    return sorted(file.stem for file in paths.run.glob("*.json")) if paths.run.is_dir() else []


def marked(paths: SandboxPaths) -> list[Running]:
    """Every live process that carries this sandbox's marker, this one excepted."""
    marker = f"{MARKER}={paths.root}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or belongs to another user
        pid = int(process.name)
        started = procfs.start_time(pid)
        if marker in environment and started is not None:
            command = _command(pid)
            found.append(Running(" ".join(command[:3]), pid, started, command=command))
    return found


def tail(paths: SandboxPaths, name: str, lines: int = 1) -> str:
    """The last non-empty lines of a part's log."""
    try:
        text = log_file(paths, name).read_text(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def log_file(paths: SandboxPaths, name: str) -> Path:
    return paths.logs / f"{name}.log"


def _start(paths: SandboxPaths, part: Part) -> Running:
    log = log_file(paths, part.name)
    log.parent.mkdir(exist_ok=True)
    paths.run.mkdir(exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                part.argv,
                cwd=paths.root,
                env={**os.environ, **part.environment, MARKER: str(paths.root)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start {part.name} ({part.argv[0]}): {error.strerror}") from error
    started = procfs.start_time(process.pid)
    # It is not ours to wait for: a zombie, should it end while we live, counts as ended and is reaped by `stop`.
    process.returncode = 0
    running = Running(part.name, process.pid, started if started is not None else -1, part.fingerprint)
    record = {
        "pid": running.pid,
        "start_time": running.start_time,
        "fingerprint": running.fingerprint,
        "boot_id": procfs.boot_id(),
        "started_at": time.time(),
    }
    write_private(_record(paths, part.name), json.dumps(record).encode())
    return running


def _command(pid: int) -> tuple[str, ...]:
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0"))
    except OSError:
        return ()


def _ended(running: Running, seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return True
    try:
        if not running.alive:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _reap(pid: int) -> None:
    """A long-lived caller (tests, the demo) must not collect zombies of what it started."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _record(paths: SandboxPaths, name: str) -> Path:
    return paths.run / f"{name}.json"
