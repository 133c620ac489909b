"""Which containers run on a process node: the files, how to read them, how to end them all.

For the rest of the sandbox (`down`, faults) two functions matter and need no running node process:

    records(paths, "node-a")              -> the containers that run now, as ContainerRecord
    end_containers(paths, "node-a", 30.0) -> SIGTERM to each, SIGKILL after 30 s; returns when none is left

Stop the node process first: it would start the containers again. `ContainerRecord.processes()` lists every process of a
container (for SIGSTOP, SIGCONT, SIGKILL); its supervisor is not among them and must be left alone: it writes the exit
code.

Layout under `paths.node(name)`:

    pods/<pod uid>/pod.json                     {"namespace", "name", "uid", "grace"}; grace in seconds
    pods/<pod uid>/volumes/<volume>/            what containers mount
    pods/<pod uid>/roots/<container>/           $KFLEET_POD_ROOT of a container; fresh at each start
    pods/<pod uid>/containers/<container>/<n>/  attempt n, counting from 0 = restartCount
        started.json   {"pid", "start_time", "supervisor_pid", "supervisor_start", "boot_id", "started_at"}
        ended.json     {"exit_code", "signal", "reason", "message", "finished_at"}, once it has ended
        log, log.1     CRI format: RFC 3339 time, stream, F(ull) or P(artial), text; log.1 is the older half
        termination    the termination message

started.json is made with link(2), so exactly one of supervisor and node can claim an attempt; an attempt directory with
neither file never ran. A record counts as running only while boot id, pid and start time all match.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.node import procfs

STARTED, ENDED, LOG, TERMINATION, POD = "started.json", "ended.json", "log", "termination", "pod.json"
FORCED_SECONDS = 10.0


class StuckContainersError(RuntimeError):
    """Containers that outlived SIGKILL (uninterruptible I/O); the message names them."""


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One running container. `start_time` and `supervisor_start` are clock ticks since boot, `grace` seconds."""

    namespace: str
    pod: str
    uid: str
    container: str
    attempt: int
    pid: int
    start_time: int
    supervisor_pid: int
    supervisor_start: int
    grace: float
    record_dir: Path
    root: Path

    @property
    def log(self) -> Path:
        return self.record_dir / LOG

    def alive(self) -> bool:
        """Whether anything of it runs: the supervisor leaves only after the last process of the container."""
        return procfs.alive(self.supervisor_pid, self.supervisor_start) or procfs.alive(self.pid, self.start_time)

    def processes(self) -> list[int]:
        """Every process of the container, main process first; empty once it has ended."""
        if procfs.alive(self.supervisor_pid, self.supervisor_start):
            return procfs.descendants(self.supervisor_pid)
        return [self.pid, *procfs.descendants(self.pid)] if procfs.alive(self.pid, self.start_time) else []


def read_json(path: Path) -> dict[str, Any] | None:
    """A record file, or None when it does not exist; they are written atomically, so half a file cannot be met."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return document


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Atomic and durable: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def attempts(container_dir: Path) -> list[int]:
    """Numbers of the recorded attempts of a container, ascending."""
    return sorted(int(name) for name in _names(container_dir) if name.isdigit())


def _names(directory: Path) -> list[str]:
    """What is in a directory; nothing when it is not there: a node removes its pods' while others look."""
    try:
        return [entry.name for entry in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def records(paths: SandboxPaths, node: str) -> list[ContainerRecord]:
    """The containers of one node that run now, init containers included, ordered by namespace, pod and container."""
    boot = procfs.boot_id()
    found = []
    pods = paths.node(node) / "pods"
    for uid in _names(pods):
        pod = read_json(pods / uid / POD)
        if pod is None:
            continue
        for container_dir in (pods / uid / "containers" / name for name in _names(pods / uid / "containers")):
            for number in attempts(container_dir):
                record = _record(pod, container_dir, number, boot)
                if record is not None and record.alive():
                    found.append(record)
    return sorted(found, key=lambda record: (record.namespace, record.pod, record.container, record.attempt))


def _record(pod: dict[str, Any], container_dir: Path, number: int, boot: str) -> ContainerRecord | None:
    started = read_json(container_dir / str(number) / STARTED)
    if started is None or started["boot_id"] != boot or not started["pid"]:
        return None
    return ContainerRecord(
        namespace=pod["namespace"],
        pod=pod["name"],
        uid=pod["uid"],
        container=container_dir.name,
        attempt=number,
        pid=started["pid"],
        start_time=started["start_time"],
        supervisor_pid=started["supervisor_pid"],
        supervisor_start=started["supervisor_start"],
        grace=pod["grace"],
        record_dir=container_dir / str(number),
        root=container_dir.parent.parent / "roots" / container_dir.name,
    )


def end_containers(paths: SandboxPaths, node: str, grace: float) -> int:
    """End every container of a node: SIGTERM, and SIGKILL to all its processes after `grace` seconds (0: at once).

    Returns how many ran. Raises StuckContainersError when some outlive SIGKILL by 10 s.
    """
    running = records(paths, node)
    end(running, grace, node)
    return len(running)


def end(running: list[ContainerRecord], grace: float, node: str) -> None:
    """The same for chosen containers of `node`."""
    if grace > 0:
        for record in running:
            procfs.send(record.pid, record.start_time, signal.SIGTERM)
            for pid in record.processes():
                _signal(pid, signal.SIGCONT)  # a frozen container could not end
    left = _wait(running, grace)
    for record in left:
        for pid in record.processes():
            _signal(pid, signal.SIGKILL)
    if stuck := _wait(left, FORCED_SECONDS):
        names = ", ".join(f"{record.namespace}/{record.pod}/{record.container} (pid {record.pid})" for record in stuck)
        raise StuckContainersError(f"containers on {node} outlived SIGKILL: {names}")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait(running: list[ContainerRecord], seconds: float) -> list[ContainerRecord]:
    """Sleep until all have ended or the time is over; returns those that still run."""
    deadline = time.monotonic() + seconds
    for record in running:
        for pid, started in ((record.supervisor_pid, record.supervisor_start), (record.pid, record.start_time)):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                if procfs.alive(pid, started):
                    poll = select.poll()
                    poll.register(descriptor, select.POLLIN)
                    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            finally:
                os.close(descriptor)
    return [record for record in running if record.alive()]
