"""ports.ClientWitness: what clients feel of each cluster that is being looked at.

The first look at a cluster begins a watch: two tasks that probe its canary and sample its groups' lags, each step in
one bounded executor, never two of one kind at once for one cluster. Looks keep it alive and return what it has so far,
without waiting for a broker; `IDLE_SECONDS` after the last one it ends and forgets, so that a cluster at rest costs
nothing. What fails is recorded as the canary's errors, or missing from the lags, and never raised: a task that fails
begins anew after `AGAIN_SECONDS`, in the same watch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from controlplane.domain.observation import ClientObservation
from controlplane.domain.rolling import canary
from controlplane.ports import ClientTls

if TYPE_CHECKING:
    from controlplane.adapters.kafka.lags import GroupLags
    from controlplane.adapters.kafka.prober import Prober

_log = logging.getLogger(__name__)
T = TypeVar("T")

IDLE_SECONDS = 15.0
"""More than one pass of an operation takes while no broker answers (kafka_timeout and the pause between passes)."""
SAMPLE_SECONDS = 5.0
AGAIN_SECONDS = 5.0
STALE_SECONDS = 4 * canary.LAG_PERIOD_SECONDS
"""A last sample older than this says nothing about now."""


class ClientWitnesses:
    """Watches by cluster; call it from one event loop. `threads` is how many steps may run at the same time, `idle`
    after how many seconds without a look a watch is over, `IDLE_SECONDS` where it is None."""

    def __init__(self, *, threads: int, idle: float | None = None) -> None:
        self._idle = idle
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="kafka-witness")
        self._watches: dict[str, _Watch] = {}
        self._left: list[_Watch] = []
        """Watches that are over; their tasks end by themselves."""

    async def look(
        self,
        cluster_key: str,
        bootstrap_servers: Sequence[str],
        leaders: Sequence[int | None] | None,
        as_of: float,
        tls: ClientTls | None = None,
    ) -> ClientObservation:
        watch = self._watches.get(cluster_key)
        if watch is None or watch.over:
            self._left = [old for old in (*self._left, watch) if old is not None and not old.ended]
            watch = self._watches[cluster_key] = _Watch(self._executor, cluster_key, self._idle)
        return watch.look(tuple(bootstrap_servers), None if leaders is None else tuple(leaders), as_of, tls)

    async def forget(self, cluster_key: str) -> None:
        watch = self._watches.pop(cluster_key, None)
        if watch is not None:
            await watch.end()

    async def close(self) -> None:
        """Every watch, the threads too."""
        for key in tuple(self._watches):
            await self.forget(key)
        for watch in self._left:
            await watch.end()
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)


class _Watch:
    def __init__(self, executor: Executor, key: str, idle: float | None) -> None:
        self._executor, self._key, self._idle_after = executor, key, idle
        self._failures: set[str] = set()
        self._servers: tuple[str, ...] = ()
        self._tls: ClientTls | None = None
        self._leaders: tuple[int | None, ...] = ()
        self._probes: deque[canary.Probe] = deque()
        self._samples: deque[canary.LagSample] = deque()
        self._since = self._looked = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def over(self) -> bool:
        """Nobody looked for long, or its tasks have ended."""
        return self._idle() or any(task.done() for task in self._tasks)

    @property
    def ended(self) -> bool:
        return all(task.done() for task in self._tasks)

    def look(
        self,
        servers: tuple[str, ...],
        leaders: tuple[int | None, ...] | None,
        as_of: float,
        tls: ClientTls | None,
    ) -> ClientObservation:
        self._looked = now = time.monotonic()
        self._servers, self._tls = servers, tls
        if leaders is not None:
            self._leaders = leaders
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._keep(self._probe)), loop.create_task(self._keep(self._sample))]
        samples = list(self._samples)
        fresh = bool(samples) and samples[-1].at > now - STALE_SECONDS
        groups, left_out = canary.groups(samples) if fresh else (None, 0)
        return ClientObservation(
            as_of=as_of,
            watched_seconds=round(now - self._since, 3),
            canary=canary.figures(self._probes, now) if self._leaders else None,
            groups=groups,
            groups_left_out=left_out,
        )

    async def end(self) -> None:
        """Its clients are closed when this returns."""
        self._looked = float("-inf")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _idle(self) -> bool:
        return time.monotonic() - self._looked > (IDLE_SECONDS if self._idle_after is None else self._idle_after)

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """`work` to its end, begun anew whenever it fails. Each failure is told once."""
        while not self._idle():
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a witness that fails must fail nothing else
                told = f"{work.__name__}: {error!r}"
                if told not in self._failures:
                    self._failures.add(told)
                    _log.exception("%s: a witness of clients failed; it begins anew", self._key)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _probe(self) -> None:
        from controlplane.adapters.kafka.prober import Prober  # noqa: PLC0415 - librdkafka, only while it is needed

        prober: Prober | None = None
        shown: ClientTls | None = None
        try:
            while not self._idle():
                began = time.monotonic()
                if prober is not None and shown != self._tls:
                    await self._run(prober.close)
                    prober = None
                if self._leaders:
                    if prober is None:
                        shown = self._tls
                        prober = await self._run(Prober, self._servers, shown)
                    self._probes.extend(await self._run(prober.round, self._servers, self._leaders))
                while self._probes and self._probes[0].at <= began - canary.WINDOW_SECONDS:
                    self._probes.popleft()
                await asyncio.sleep(max(0.0, began + canary.PROBE_SECONDS - time.monotonic()))
        finally:
            if prober is not None:
                await self._run(prober.close)

    async def _sample(self) -> None:
        from controlplane.adapters.kafka.lags import GroupLags  # noqa: PLC0415 - the same

        lags: GroupLags | None = None
        known: tuple[str, ...] = ()
        shown: ClientTls | None = None
        while not self._idle():
            began = time.monotonic()
            if lags is None or shown != self._tls or not set(known) & set(self._servers):
                known, shown = self._servers, self._tls
                lags = await self._run(GroupLags, known, shown)
            sample = await self._run(lags.sample, SAMPLE_SECONDS)
            if sample is None:
                lags = None
            else:
                self._samples.append(sample)
            while self._samples and self._samples[0].at < began - canary.LAG_WINDOW_SECONDS:
                self._samples.popleft()
            await asyncio.sleep(max(0.0, began + canary.LAG_PERIOD_SECONDS - time.monotonic()))

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        """In the executor; a cancelled wait still waits for the step, which is short: clients must not be closed under
        it."""
        step = asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*arguments))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step])
            raise
