"""One container over all its attempts: starting a supervisor, adopting one, learning of the end, stopping.

The state is what the record files say (records.py); this class only adds who waits for what. The end is learnt from a
pidfd of the supervisor, so nothing polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controlplane.ports import Object
from controlplane.sandbox.node import objects, procfs
from controlplane.sandbox.node.records import ENDED, STARTED, attempts, read_json, write_json

SUPERVISOR = Path(__file__).with_name("supervisor.py")
LOST_EXIT_CODE = 137
KEPT_ATTEMPTS = 2


class Container:
    """`wake` is called whenever the state changed. All methods belong to the event loop's thread."""

    def __init__(self, spec: Object, directory: Path, root: Path, wake: Callable[[], None]) -> None:
        self.spec, self.directory, self.root = spec, directory, root
        self.name: str = spec["name"]
        self._wake = wake
        self.attempt: int | None = None
        self.started: dict[str, Any] | None = None
        self.ended: dict[str, Any] | None = None
        self.last: tuple[dict[str, Any], dict[str, Any]] | None = None
        self.ended_at: float = 0.0
        self._supervisor: subprocess.Popen[str] | None = None
        self._exit = asyncio.Event()
        self._descriptor: int | None = None
        self._stop: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._hurried = asyncio.Event()
        self._load()

    @property
    def running(self) -> bool:
        return self.started is not None and self.ended is None

    @property
    def stopping(self) -> bool:
        return self._stop is not None

    @property
    def record_dir(self) -> Path:
        return self.directory / str(self.attempt or 0)

    def next_attempt(self) -> int:
        return 0 if self.attempt is None else self.attempt + 1

    async def start(self, argv: list[str], env: dict[str, str], cwd: Path) -> None:
        """Start the next attempt; a command that cannot be run ends it with reason StartError, exit code 128."""
        if self.started is not None and self.ended is not None:
            self.last = (self.started, self.ended)
        self.attempt = self.next_attempt()
        self.started = self.ended = None
        record = self.record_dir
        record.mkdir(parents=True, exist_ok=True)
        for number in attempts(self.directory)[:-KEPT_ATTEMPTS]:
            shutil.rmtree(self.directory / str(number))
        spec = {"argv": argv, "env": env, "cwd": str(cwd), "dir": str(record), "boot_id": procfs.boot_id()}
        self._supervisor = await asyncio.to_thread(_spawn, spec, record)
        self.started = read_json(record / STARTED)
        self._follow()

    def stop(self, grace: float, before: Callable[[], Awaitable[None]] | None = None) -> None:
        """SIGTERM now (after the preStop hook), SIGKILL `grace` seconds from now; a later call may only hurry it."""
        deadline = time.monotonic() + grace
        if not self.running:
            return
        if self._stop is None:
            self._deadline = deadline
            self._stop = asyncio.create_task(self._end(before), name=f"stop {self.name}")
        elif deadline < self._deadline:
            self._deadline = deadline
            self._hurried.set()

    def signal(self, number: signal.Signals) -> bool:
        return self.started is not None and procfs.send(self.started["pid"], self.started["start_time"], number)

    def release(self) -> None:
        """Stop looking; the container runs on under its supervisor."""
        if self._stop is not None:
            self._stop.cancel()
            self._stop = None
        self._unfollow()

    async def _end(self, before: Callable[[], Awaitable[None]] | None) -> None:
        if before is not None:
            hook = asyncio.ensure_future(before())
            await self._until(hook)
            hook.cancel()
        self.signal(signal.SIGTERM)
        await self._until(asyncio.ensure_future(self._exit.wait()))
        if self.running and self.started is not None:
            self.signal(signal.SIGKILL)
            procfs.kill_tree(self.started["supervisor_pid"])

    async def _until(self, task: asyncio.Future[Any]) -> None:
        """Wait for `task`, the exit or the deadline, which may move closer meanwhile."""
        exited = asyncio.ensure_future(self._exit.wait())
        while not task.done() and not exited.done() and (left := self._deadline - time.monotonic()) > 0:
            self._hurried.clear()
            hurried = asyncio.ensure_future(self._hurried.wait())
            await asyncio.wait({task, exited, hurried}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        exited.cancel()
        if not task.done():
            task.cancel()

    def _load(self) -> None:
        """Read the records; adopt what runs, and settle what ended or was lost while nobody looked."""
        numbers = attempts(self.directory)
        while numbers:
            record = self.directory / str(numbers[-1])
            if read_json(record / STARTED) is not None or not _claim(record):
                break
            shutil.rmtree(record)  # the node died before the supervisor had begun; claimed, it never will
            numbers.pop()
        if not numbers:
            return
        self.attempt = numbers[-1]
        self.started = read_json(self.record_dir / STARTED)
        self.ended = read_json(self.record_dir / ENDED)
        if len(numbers) > 1:
            previous = self.directory / str(numbers[-2])
            before, after = read_json(previous / STARTED), read_json(previous / ENDED)
            self.last = (before, after) if before and after else None
        if self.running:
            self._follow()
        elif self.ended is not None:
            age = time.time() - objects.moment(self.ended["finished_at"]).timestamp()
            self.ended_at = time.monotonic() - max(0.0, age)
            self._exit.set()

    def _follow(self) -> None:
        """Watch the supervisor's pidfd; settles at once when the supervisor is no longer there."""
        self._exit.clear()
        started = self.started
        if started is None:
            raise RuntimeError(f"supervisor of {self.directory} left no {STARTED}")
        here = started["boot_id"] == procfs.boot_id()
        try:
            descriptor = os.pidfd_open(started["supervisor_pid"]) if here else None
        except ProcessLookupError:
            descriptor = None
        if descriptor is not None and procfs.alive(started["supervisor_pid"], started["supervisor_start"]):
            self._descriptor = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._exited)
            return
        if descriptor is not None:
            os.close(descriptor)
        self._settle(rebooted=not here)

    def _exited(self) -> None:
        self._unfollow()
        self._settle(rebooted=False)
        self._wake()

    def _settle(self, *, rebooted: bool) -> None:
        """The supervisor is gone: take the exit code it left, or record the container as lost."""
        if self._supervisor is not None:
            self._supervisor.wait()
            self._supervisor = None
        self.ended = read_json(self.record_dir / ENDED)
        if self.ended is None:
            if not rebooted and self.started is not None:
                procfs.kill_tree(self.started["pid"])
                self.signal(signal.SIGKILL)
            why = "the machine was restarted" if rebooted else "its supervisor was killed"
            self.ended = {
                "exit_code": LOST_EXIT_CODE,
                "signal": int(signal.SIGKILL),
                "reason": "ContainerStatusUnknown",
                "message": f"The container could not be located: {why}",
                "finished_at": objects.now(),
            }
            write_json(self.record_dir / ENDED, self.ended)
        self.ended_at = time.monotonic()
        self._stop = None  # the task, if any, sees the exit and ends by itself
        self._exit.set()

    def _unfollow(self) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _spawn(spec: dict[str, Any], record: Path) -> subprocess.Popen[str]:
    """Blocking. Returns once the supervisor has begun (or failed to)."""
    with (record / "supervisor.err").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            text=True,
        )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("pipes of the supervisor are missing")
    with process.stdin, process.stdout, contextlib.suppress(BrokenPipeError):
        json.dump(spec, process.stdin)
        process.stdin.close()
        answer = process.stdout.readline().strip()
    if answer != "started":
        process.wait()
        why = (record / "supervisor.err").read_text().strip().splitlines()[-1:] or [answer or "no answer"]
        raise OSError(f"supervisor did not start: {why[0]}")
    return process


def _claim(record: Path) -> bool:
    """Take an attempt that has no started.json, so that a supervisor still on its way runs nothing."""
    temporary = record / ".claim"
    temporary.write_text('{"pid": 0}')
    try:
        os.link(temporary, record / STARTED)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True
