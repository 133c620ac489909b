"""Local runtimes for images: resolved in threads, once each, with a kubelet's Events and back-off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from controlplane.ports import Object
from controlplane.sandbox.errors import UnknownImageError
from controlplane.sandbox.images import Runtime
from controlplane.sandbox.node.backoff import Backoff
from controlplane.sandbox.node.pod_events import PodEvents

Resolver = Callable[[str], Runtime]


@dataclass(frozen=True, slots=True)
class NotPulled:
    """The waiting reason and message of a container whose image is not there yet, and when to look again (seconds)."""

    reason: str
    message: str
    retry_seconds: float | None


class Images:
    """What is resolved stays so for the life of the node process; a failed pull is tried again with back-off."""

    def __init__(self, resolve: Resolver, events: PodEvents, first: float, longest: float) -> None:
        self._resolve, self._events = resolve, events
        self._first, self._longest = first, longest
        self._known: dict[str, Runtime] = {}
        self._pulls: dict[str, asyncio.Future[Runtime]] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="pull")

    def puller(self, pod: Object, container: str, wake: Callable[[], None]) -> Puller:
        return Puller(self, pod, container, wake, Backoff(self._first, self._longest))

    def known(self, image: str) -> Runtime | None:
        return self._known.get(image)

    def pull(self, image: str, done: Callable[[], None]) -> asyncio.Future[Runtime]:
        """One pull an image at a time, shared by all that wait for it."""
        pull = self._pulls.get(image)
        if pull is None:
            pull = asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, image)
            self._pulls[image] = pull
            pull.add_done_callback(lambda finished: self._finished(image, finished))
        pull.add_done_callback(lambda _: done())
        return pull

    def warn(self, pod: Object, container: str, reason: str, message: str) -> None:
        self._events.warning(pod, reason, message, container)

    def tell(self, pod: Object, container: str, reason: str, message: str) -> None:
        self._events.normal(pod, reason, message, container)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finished(self, image: str, pull: asyncio.Future[Runtime]) -> None:
        self._pulls.pop(image, None)
        if not pull.cancelled() and pull.exception() is None:
            self._known[image] = pull.result()


class Puller:
    """One container's wait for its image. `look` never blocks; `wake` is called when there is news."""

    def __init__(self, images: Images, pod: Object, container: str, wake: Callable[[], None], backoff: Backoff) -> None:
        self._images, self._pod, self._container, self._wake = images, pod, container, wake
        self._backoff = backoff
        self._pull: asyncio.Future[Runtime] | None = None
        self._began = 0.0
        self._failed_at: float | None = None
        self._message = ""

    def look(self, image: str) -> Runtime | NotPulled:
        if runtime := self._images.known(image):
            self._arrived(image)
            return runtime
        if self._pull is not None and self._pull.done() and self._failed(image, self._pull):
            return NotPulled(
                "ErrImagePull", self._message, self._backoff.remaining(self._failed_at or 0, time.monotonic())
            )
        now = time.monotonic()
        if self._failed_at is not None and self._pull is None:
            wait = self._backoff.remaining(self._failed_at, now)
            if wait > 0:
                message = f'Back-off pulling image "{image}": ErrImagePull: {self._message}'
                self._images.tell(self._pod, self._container, "BackOff", f'Back-off pulling image "{image}"')
                self._images.warn(self._pod, self._container, "Failed", "Error: ImagePullBackOff")
                return NotPulled("ImagePullBackOff", message, wait)
        if self._pull is None:
            self._backoff.retried(now)
            self._began = now
            self._images.tell(self._pod, self._container, "Pulling", f'Pulling image "{image}"')
            self._pull = self._images.pull(image, self._wake)
        return NotPulled("ContainerCreating", "", None)

    def _arrived(self, image: str) -> None:
        if self._pull is None:
            message = f'Container image "{image}" already present on machine'
        else:
            message = f'Successfully pulled image "{image}" in {time.monotonic() - self._began:.3f}s'
        self._pull = self._failed_at = None
        self._images.tell(self._pod, self._container, "Pulled", message)

    def _failed(self, image: str, pull: asyncio.Future[Runtime]) -> bool:
        self._pull = None
        error = None if pull.cancelled() else pull.exception()
        if error is None:
            return False
        if not isinstance(error, UnknownImageError | OSError):
            raise error
        self._failed_at = time.monotonic()
        self._message = f'failed to pull image "{image}": {error}'
        self._images.warn(self._pod, self._container, "Failed", f'Failed to pull image "{image}": {error}')
        self._images.warn(self._pod, self._container, "Failed", "Error: ErrImagePull")
        return True
