"""WorkQueue: the operator's own deduplicating, delaying queue with one pass at a time per cell.

After client-go's workqueue: a key that is added while it waits stays one entry (the earlier time wins); a key that is
added while its pass runs is run again afterwards. Keys of one cell never run at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What to reconcile. `cell` is namespace/name of the KafkaCluster whose work must not overlap."""

    kind: str
    namespace: str
    name: str

    @property
    def cell(self) -> str:
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


Reconcile = Callable[[Key], Awaitable[float | None]]
"""Runs one pass; returns seconds until the next one, or None to wait for an event. May raise: the pass is retried."""


class WorkQueue:
    """`add` wakes; `run` works until cancelled. Failed passes back off from `retry_min` to `retry_max` seconds."""

    def __init__(self, reconcile: Reconcile, *, workers: int, retry_min: float, retry_max: float) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._retry = (retry_min, retry_max)
        self._due: dict[Key, float] = {}
        self._running: dict[str, Key] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Run `key` after `delay` seconds, or earlier if it is already due earlier."""
        due = time.monotonic() + delay
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._wake.set()

    def __len__(self) -> int:
        return len(self._due) + len(self._running)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                key, wait = self._next()
                if key is None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), wait)
                    continue
                del self._due[key]
                self._running[key.cell] = key
                group.create_task(self._pass(key), name=str(key))

    def _next(self) -> tuple[Key | None, float | None]:
        """The key that may run now, else how long until the next one is due (None: wait to be woken)."""
        if len(self._running) >= self._workers:
            return None, None
        free = [(due, key) for key, due in self._due.items() if key.cell not in self._running]
        if not free:
            return None, None
        due, key = min(free)
        wait = due - time.monotonic()
        return (key, None) if wait <= 0 else (None, wait)

    async def _pass(self, key: Key) -> None:
        try:
            again = await self._reconcile(key)
            self._failures.pop(key, None)
        except Exception as error:  # whatever a pass meets, the loop lives and the pass is tried again
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            again = min(self._retry[0] * 2 ** min(failures - 1, 16), self._retry[1])
            log.warning(
                "%s: pass failed (%d in a row), again in %.1f s: %s", key, failures, again, error, exc_info=True
            )
        finally:
            del self._running[key.cell]
            self._wake.set()
        if again is not None:
            self.add(key, again)
