"""Startup, readiness and liveness probes of one running container (pkg/kubelet/prober).

Readiness and liveness begin once the startup probe has succeeded. A result changes only after failureThreshold or
successThreshold tries in a row. Durations are seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import aiohttp

from controlplane.ports import Object
from controlplane.sandbox.node.checks import Target, check

Kind = Literal["startup", "readiness", "liveness"]
EAGER_SECONDS = 0.2
"""Between tries of a container that is not ready, beside those at its period: kubelets may do so to make a pod ready
sooner (core/v1 Probe, periodSeconds). Only their success counts, and programs (exec) are not run for it."""


@dataclass(slots=True)
class Streak:
    """Counts equal results in a row and says when they are enough to change the verdict."""

    success_threshold: int
    failure_threshold: int
    last: bool | None = None
    length: int = 0

    def count(self, *, ok: bool) -> bool | None:
        """The verdict after this result: True, False, or None when it stays as it was."""
        self.length = self.length + 1 if ok == self.last else 1
        self.last = ok
        return ok if self.length >= (self.success_threshold if ok else self.failure_threshold) else None


class Probes:
    """`changed` is called when `started` or `ready` changed, `unhealthy(kind, message, enough)` at every failed try."""

    def __init__(
        self,
        target: Target,
        http: aiohttp.ClientSession,
        changed: Callable[[], None],
        unhealthy: Callable[[Kind, str, bool], None],
        *,
        ready_before: bool,
    ) -> None:
        """`ready_before`: the container was found running and ready; it stays so until a probe says otherwise."""
        self._target, self._http = target, http
        self._changed, self._unhealthy = changed, unhealthy
        spec = target.container
        self.started = "startupProbe" not in spec or ready_before
        self.ready = ready_before or (self.started and "readinessProbe" not in spec)
        self._tasks: list[asyncio.Task[None]] = []
        if not self.started:
            self._begin("startup")
        else:
            self._begin_rest()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def stop_liveness(self) -> None:
        """While a container is being stopped only its readiness is still of interest."""
        for task in self._tasks:
            if task.get_name() != "readiness":
                task.cancel()

    def _begin(self, kind: Kind) -> None:
        probe = self._target.container.get(f"{kind}Probe")
        if probe is not None:
            self._tasks.append(asyncio.create_task(self._run(kind, probe), name=kind))

    def _begin_rest(self) -> None:
        self._begin("readiness")
        self._begin("liveness")

    async def _run(self, kind: Kind, probe: Object) -> None:
        streak = Streak(probe.get("successThreshold", 1), probe.get("failureThreshold", 3))
        loop = asyncio.get_running_loop()
        tick = loop.time() + probe.get("initialDelaySeconds", 0)
        while True:
            await self._wait(kind, probe, tick)
            tick = max(loop.time(), tick) + probe.get("periodSeconds", 10)
            why = await check(probe, self._target, self._http, probe.get("timeoutSeconds", 1))
            verdict = streak.count(ok=why is None)
            if why is not None:
                self._unhealthy(kind, why, verdict is False)
            if verdict is not None and self._apply(kind, ok=verdict):
                return

    async def _wait(self, kind: Kind, probe: Object, due: float) -> None:
        """Until the next try is due, or would already succeed."""
        loop = asyncio.get_running_loop()
        eager = kind == "readiness" and "exec" not in probe and probe.get("successThreshold", 1) == 1
        while eager and not self.ready and due - loop.time() > EAGER_SECONDS:
            await asyncio.sleep(EAGER_SECONDS)
            if await check(probe, self._target, self._http, probe.get("timeoutSeconds", 1)) is None:
                return
        await asyncio.sleep(max(0.0, due - loop.time()))

    def _apply(self, kind: Kind, *, ok: bool) -> bool:
        """True when this probe has nothing more to say."""
        if kind == "readiness":
            if self.ready != ok:
                self.ready = ok
                self._changed()
            return False
        if kind == "startup" and ok:
            self.started = True
            self.ready = "readinessProbe" not in self._target.container
            self._begin_rest()
            self._changed()
        return kind == "startup" or not ok
