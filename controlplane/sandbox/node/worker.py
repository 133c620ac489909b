"""One pod on this node: a level-triggered loop that brings its containers where the API server wants them.

Invariants: nothing starts once the pod is being deleted, was removed, or reached a terminal phase; a pod object is
deleted (grace 0, uid precondition) only after its last container process has ended; a pass ends by publishing what is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from controlplane.adapters.kubernetes.resources import PODS
from controlplane.ports import ConflictError, ForbiddenError, KubeError, NotFoundError, Object
from controlplane.sandbox.node import objects, rootfs, unsupported
from controlplane.sandbox.node.context import Context
from controlplane.sandbox.node.errors import MountError
from controlplane.sandbox.node.member import Member
from controlplane.sandbox.node.publish import Publisher
from controlplane.sandbox.node.records import POD, write_json
from controlplane.sandbox.node.volumes import Volumes, seconds_until

RETRY_SECONDS = (0.3, 10.0)

log = logging.getLogger(__name__)


class PodWorker:
    def __init__(self, context: Context, pod: Object, predecessor: PodWorker | None) -> None:
        """`predecessor`: the worker of an older pod of that name, which has to finish first (one address, one disk)."""
        self._context, self.pod = context, pod
        self._predecessor = predecessor
        self._wake = asyncio.Event()
        self._directory = context.pod_dir(objects.uid(pod))
        self._over = objects.finished(pod)
        if not self._over or self._directory.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            write_json(
                self._directory / POD,
                {
                    "namespace": objects.namespace(pod),
                    "name": objects.name(pod),
                    "uid": objects.uid(pod),
                    "grace": objects.stop_grace(pod),
                },
            )
        self.inits = [Member(context, pod, spec, init=True, wake=self.wake) for spec in objects.init_containers(pod)]
        self.mains = [Member(context, pod, spec, init=False, wake=self.wake) for spec in objects.containers(pod)]
        self._volumes = Volumes(self._directory / "volumes", context.sources, context.tokens, self._volumes_changed)
        self._publisher = Publisher(context, self)
        self._volumes_dirty = True
        self._retry = RETRY_SECONDS[0]
        self._refresh_at: float | None = None
        self.mounted = False
        self.address = ""
        self.removed = False
        self.failure: tuple[str, str] | None = None
        self.refused: str = ""
        self.finished = False
        self.task = asyncio.create_task(self._run(), name=f"pod {objects.title(pod)}")

    @property
    def members(self) -> list[Member]:
        return [*self.inits, *self.mains]

    @property
    def ending(self) -> bool:
        return self.removed or objects.terminating(self.pod)

    @property
    def running(self) -> bool:
        return any(member.container.running for member in self.members)

    def wake(self) -> None:
        self._wake.set()

    def update(self, pod: Object) -> None:
        """A newer version from the watch or from our own write; an older one is ignored."""
        if objects.version(pod) <= objects.version(self.pod):
            return
        for field in ("labels", "annotations"):
            if pod["metadata"].get(field) != self.pod["metadata"].get(field):
                self._volumes_dirty = True
        self.pod = pod
        for member in self.members:
            member.pod = pod
        self.wake()

    def remove(self) -> None:
        """The object is gone from the API server."""
        self.removed = True
        self.wake()

    def release(self) -> None:
        """The node process leaves; containers go on."""
        self.task.cancel()
        for member in self.members:
            member.release()

    async def _run(self) -> None:
        if self._predecessor is not None:
            await asyncio.wait({self._predecessor.task})
            self._predecessor = None
        while True:
            self._wake.clear()
            delay = await self._pass()
            if self.finished:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    async def _pass(self) -> float | None:
        """One look at everything; returns when to look again without being woken."""
        try:
            delay = await self._end() if self.ending else await self._advance()
            if not self.removed:
                await self._publisher.publish()
        except MountError as error:
            self._context.events.warning(self.pod, "FailedMount", str(error))
            await self._publish_quietly()
        except ForbiddenError as error:
            log.info("pod %s: not allowed yet: %s", objects.title(self.pod), error)
            await self._publish_quietly()
        except (KubeError, OSError) as error:
            log.warning("pod %s: %s", objects.title(self.pod), error)
            await self._publish_quietly()
        except Exception:
            # As a kubelet's "Error syncing pod": the others go on, the trace is for whoever repairs this.
            log.exception("pod %s: pass failed", objects.title(self.pod))
        else:
            self._retry = RETRY_SECONDS[0]
            return delay
        wait, self._retry = self._retry, min(self._retry * 2, RETRY_SECONDS[1])
        return wait

    async def _publish_quietly(self) -> None:
        try:
            await self._publisher.publish()
        except KubeError as error:
            log.info("pod %s: status not written: %s", objects.title(self.pod), error)

    async def _advance(self) -> float | None:
        if self._over:
            return None
        if refused := unsupported.refused(self.pod):
            self.refused = "; ".join(refused)
            self._context.events.warning(self.pod, "Unsupported", self.refused)
            return None
        if not self.address:
            self._tell_limits()
            claim = self._context.addresses.claim
            self.address = await asyncio.to_thread(claim, objects.namespace(self.pod), objects.name(self.pod))
        if (left := self._deadline()) is not None and left <= 0:
            self._fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            return None
        await self._mount()
        delays = [left, seconds_until(self._refresh_at)]
        initialized = any(member.container.started for member in self.mains)
        for member in [] if initialized else self.inits:
            if member.succeeded:
                continue
            delays.append(await member.advance(self._volumes, self.address))
            # One that has succeeded meanwhile is gone on from by the next pass, which `advance` asked for.
            if not (member.container.running or member.restarts() or member.succeeded):
                self._over = True
            break
        else:
            delays += [await member.advance(self._volumes, self.address) for member in self.mains]
            self._over = not any(member.container.running or member.restarts() for member in self.mains)
        return min((delay for delay in delays if delay is not None), default=None)

    async def _mount(self) -> None:
        """Before anything runs a volume that fails blocks the pod; later its old content stays and an Event tells."""
        due = seconds_until(self._refresh_at) == 0
        if not (self._volumes_dirty or due):
            return
        self._volumes_dirty = False
        try:
            self._refresh_at = await self._volumes.prepare(self.pod, self._context.place(self.address))
        except (MountError, KubeError) as error:
            if not self.mounted:
                self._volumes_dirty = True
                raise
            self._refresh_at = time.time() + RETRY_SECONDS[1]
            self._context.events.warning(self.pod, "FailedMount", str(error))
        self.mounted = True

    def _volumes_changed(self) -> None:
        self._volumes_dirty = True
        self.wake()

    def _tell_limits(self) -> None:
        if fields := unsupported.not_enforced(self.pod):
            text = f"a process node does not enforce {', '.join(fields)}"
            self._context.events.normal(self.pod, "NotEnforced", text)

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        began = (self.pod.get("status") or {}).get("startTime")
        if seconds is None or began is None:
            return None
        return float(objects.moment(began).timestamp() + seconds - time.time())

    def _fail(self, reason: str, message: str) -> None:
        if self.failure is None:
            self.failure = (reason, message)
            self._context.events.normal(self.pod, reason, message)
        for member in self.members:
            member.stop(objects.stop_grace(self.pod))
        self._over = not self.running

    async def _end(self) -> float | None:
        for member in self.members:
            member.stop(objects.stop_grace(self.pod))
        if self.running:
            return None
        if not self.removed:
            await self._publisher.publish()
        self._context.sources.forget(objects.uid(self.pod))
        self._context.tokens.forget(objects.uid(self.pod))
        for member in self.members:
            member.release()
        await asyncio.to_thread(rootfs.remove, self._directory)
        await asyncio.to_thread(self._context.addresses.release, objects.namespace(self.pod), objects.name(self.pod))
        if not self.removed:
            await self._delete()
        self.finished = True
        return None

    async def _delete(self) -> None:
        name, namespace = objects.name(self.pod), objects.namespace(self.pod)
        try:
            await self._context.client.delete(PODS, name, namespace, uid=objects.uid(self.pod), grace_seconds=0)
        except (NotFoundError, ConflictError) as error:
            log.debug("pod %s is gone already: %s", objects.title(self.pod), error)
