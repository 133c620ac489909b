"""One container of a pod: image, environment, root, start, probes, restart with back-off, and how it is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from controlplane.ports import Object
from controlplane.sandbox.node import env, logs, objects, rootfs
from controlplane.sandbox.node.backoff import Backoff
from controlplane.sandbox.node.checks import Target, check
from controlplane.sandbox.node.container import Container
from controlplane.sandbox.node.context import Context
from controlplane.sandbox.node.errors import ConfigError
from controlplane.sandbox.node.images import NotPulled
from controlplane.sandbox.node.probes import Kind, Probes
from controlplane.sandbox.node.records import TERMINATION
from controlplane.sandbox.node.status import Ended, View
from controlplane.sandbox.node.volumes import Volumes

RETRY_SECONDS = (0.5, 10.0)
MESSAGE_BYTES = 4096
FALLBACK_LINES, FALLBACK_BYTES = 80, 2048


class Member:
    """`advance` is level-triggered and never waits for the container: it returns when to look again (seconds)."""

    def __init__(self, context: Context, pod: Object, spec: Object, *, init: bool, wake: Callable[[], None]) -> None:
        self._context, self._wake = context, wake
        self.pod, self.init = pod, init
        directory = context.pod_dir(objects.uid(pod))
        name = spec["name"]
        self.container = Container(spec, directory / "containers" / name, directory / "roots" / name, wake)
        config = context.config
        self._backoff = Backoff(config.restart_backoff, config.restart_backoff_max)
        self._field = f"spec.{'initContainers' if init else 'containers'}{{{name}}}"
        self._puller = context.images.puller(pod, self._field, wake)
        self.waiting: tuple[str, str] | None = None
        self.probes: Probes | None = None
        self._retry = RETRY_SECONDS[0]
        self._told: int | None = None
        self._ends: dict[int, Ended] = {}

    @property
    def spec(self) -> Object:
        return self.container.spec

    @property
    def succeeded(self) -> bool:
        return self.container.ended is not None and self.container.ended["exit_code"] == 0

    def restarts(self) -> bool:
        """Whether restartPolicy wants it started (again) now that it does not run; Always means OnFailure for inits."""
        if self.container.ended is None:
            return True
        policy = self.pod["spec"].get("restartPolicy", "Always")
        return policy != "Never" and not (self.succeeded and (self.init or policy == "OnFailure"))

    async def advance(self, volumes: Volumes, pod_ip: str) -> float | None:
        """Raises KubeError when the API server keeps it from starting."""
        if self.container.running:
            self.watch(pod_ip)
            return None
        self._close_probes()
        if not self.restarts():
            self.waiting = None
            return None
        if self.container.ended is not None:
            wait = self._backoff.remaining(self.container.ended_at, time.monotonic())
            if wait > 0:
                self._crash_looping()
                return wait
        return await self._start(volumes, pod_ip)

    def watch(self, pod_ip: str) -> None:
        """Begin probing a running container."""
        if self.probes is None and not self.init and self.container.started is not None and not self.container.stopping:
            self.waiting = None
            target = Target(self.spec, pod_ip, self.container.root, self.container.started["pid"])
            http = self._context.http
            before = self._was_ready()
            self.probes = Probes(target, http, self._wake, self._unhealthy, ready_before=before)

    def stop(self, grace: float, message: str = "") -> None:
        """Idempotent; a shorter grace hurries a stop under way."""
        if not self.container.running:
            self._close_probes()
            return
        if self.probes is not None:
            self.probes.stop_liveness()
        if not self.container.stopping:
            text = message or f"Stopping container {self.spec['name']}"
            self._context.events.normal(self.pod, "Killing", text, self._field)
        hook = objects.dig(self.spec, "lifecycle", "preStop")
        self.container.stop(grace, None if hook is None else lambda: self._pre_stop(hook, grace))

    def release(self) -> None:
        self._close_probes()
        self.container.release()

    def view(self, default: tuple[str, str]) -> View:
        """`default` is the waiting reason of a container that has not been started yet."""
        container = self.container
        ended = self._ended(container.attempt, container.started, container.ended)
        previous = None
        if container.last is not None and container.attempt is not None:
            previous = self._ended(container.attempt - 1, *container.last)
        waiting = self.waiting
        if container.started is None:
            waiting = waiting or default
        elif container.running:
            waiting = None
        return View(
            name=container.name,
            image=self.spec["image"],
            restart_count=container.attempt or 0,
            container_id=self.container_id if container.started else "",
            waiting=waiting,
            running_since=container.started["started_at"] if container.started and container.running else None,
            ended=None if waiting else ended,
            last=ended if waiting and ended else previous,
            ready=self.succeeded if self.init else self.probes is not None and self.probes.ready and container.running,
            started=self.probes.started if self.probes is not None else self.init and container.running,
        )

    @property
    def container_id(self) -> str:
        return f"process://{objects.uid(self.pod)}/{self.container.name}/{self.container.attempt}"

    async def _start(self, volumes: Volumes, pod_ip: str) -> float | None:
        runtime = self._puller.look(self.spec["image"])
        if isinstance(runtime, NotPulled):
            self.waiting = (runtime.reason, runtime.message)
            if runtime.reason == "ContainerCreating":
                self.waiting = None
            return runtime.retry_seconds
        container, record = self.container, self.container.directory / str(self.container.next_attempt())
        place = self._context.place(pod_ip)
        own = {"KFLEET_POD_ROOT": str(container.root), "KFLEET_TERMINATION_LOG": str(record / TERMINATION)}
        base = {
            "PATH": ":".join(str(folder) for folder in runtime.path),
            "HOSTNAME": objects.name(self.pod),
            "HOME": str(container.root / "home"),
            "TMPDIR": str(container.root / "tmp"),
        }
        again = container.ended is not None
        try:
            values = await env.environment(
                self.pod,
                self.spec,
                place,
                self._context.sources,
                base=base | self._context.service_env | runtime.env,
                own=own,
            )
            argv = env.command_line(self.spec, values)
            record.mkdir(parents=True, exist_ok=True)
            cwd = await asyncio.to_thread(
                rootfs.build, container.root, self.spec, volumes, values, record / TERMINATION
            )
            self._context.events.normal(self.pod, "Created", f"Created container: {container.name}", self._field)
            await container.start([rootfs.locate(argv[0], container.root), *argv[1:]], values, cwd)
        except ConfigError as error:
            return self._failed("CreateContainerConfigError", str(error))
        except OSError as error:
            return self._failed("RunContainerError", str(error))
        self._retry = RETRY_SECONDS[0]
        self.waiting = None
        if again:
            self._backoff.retried(time.monotonic())
        if container.ended is not None and container.ended["reason"] == "StartError":
            self._context.events.warning(self.pod, "Failed", f"Error: {container.ended['message']}", self._field)
        else:
            self._context.events.normal(self.pod, "Started", f"Started container {container.name}", self._field)
        self.watch(pod_ip)
        return 0 if container.ended is not None else None

    def _failed(self, reason: str, message: str) -> float:
        self.waiting = (reason, message)
        self._context.events.warning(self.pod, "Failed", f"Error: {message}", self._field)
        wait, self._retry = self._retry, min(self._retry * 2, RETRY_SECONDS[1])
        return wait

    def _crash_looping(self) -> None:
        name, title = self.spec["name"], objects.title(self.pod)
        message = f"back-off {self._backoff.delay:g}s restarting failed container={name} pod={title}"
        self.waiting = ("CrashLoopBackOff", message)
        if self._told != self.container.attempt:
            self._told = self.container.attempt
            text = f"Back-off restarting failed container {name} in pod {title}"
            self._context.events.warning(self.pod, "BackOff", text, self._field)

    def _unhealthy(self, kind: Kind, message: str, enough: bool) -> None:  # noqa: FBT001 - a callback's signature
        if self.container.stopping:
            return
        text = f"{kind.capitalize()} probe failed: {message}"
        self._context.events.warning(self.pod, "Unhealthy", text, self._field)
        if enough and kind != "readiness":
            probe = self.spec[f"{kind}Probe"]
            grace = float(probe.get("terminationGracePeriodSeconds") or objects.stop_grace(self.pod))
            self.stop(grace, f"Container {self.spec['name']} failed {kind} probe, will be restarted")

    async def _pre_stop(self, hook: Object, grace: float) -> None:
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])
            return
        started = self.container.started
        if started is None:
            return
        pod_ip = (self.pod.get("status") or {}).get("podIP", env.HOST_IP)
        target = Target(self.spec, pod_ip, self.container.root, started["pid"])
        if why := await check(hook, target, self._context.http, grace):
            self._context.events.warning(self.pod, "FailedPreStopHook", f"PreStopHook failed: {why}", self._field)

    def _was_ready(self) -> bool:
        """What the API server knows of this very attempt: a node process that comes back must not make it unready."""
        statuses = (self.pod.get("status") or {}).get("containerStatuses") or []
        mine: Object = next((entry for entry in statuses if entry["name"] == self.container.name), {})
        return bool(mine.get("ready")) and mine.get("containerID") == self.container_id

    def _close_probes(self) -> None:
        if self.probes is not None:
            self.probes.close()
            self.probes = None

    def _ended(self, attempt: int | None, started: dict[str, Any] | None, ended: dict[str, Any] | None) -> Ended | None:
        if attempt is None or ended is None:
            return None
        if attempt not in self._ends:
            identity = f"process://{objects.uid(self.pod)}/{self.container.name}/{attempt}"
            self._ends[attempt] = Ended(
                exit_code=ended["exit_code"],
                reason=ended["reason"],
                message=ended["message"] or self._termination_message(attempt, ended["exit_code"]),
                started_at=started.get("started_at") if started else None,
                finished_at=ended["finished_at"],
                container_id=identity,
            )
        return self._ends[attempt]

    def _termination_message(self, attempt: int, code: int) -> str:
        record = self.container.directory / str(attempt)
        path = record / TERMINATION
        text = path.read_bytes()[:MESSAGE_BYTES].decode(errors="replace") if path.is_file() else ""
        if text or code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return text
        return logs.last_lines(record, FALLBACK_LINES)[-FALLBACK_BYTES:]
