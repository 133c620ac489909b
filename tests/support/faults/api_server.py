"""The sandbox's API server dies and comes back; everything else of the sandbox runs on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from support.sandbox import Sandbox, wait

from controlplane.sandbox import control_plane, processes
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.node import procfs
from controlplane.sandbox.progress import Silence


@contextmanager
def api_server_gone(sandbox: Sandbox) -> Iterator[None]:
    """SIGKILL, and started again on the same port with the same data when the block ends."""
    running = processes.find(sandbox.paths, control_plane.APISERVER)
    assert running is not None, "no API server runs"
    procfs.send(running.pid, running.start_time, signal.SIGKILL)
    wait("the API server to end", lambda: not running.alive, 20)
    try:
        yield
    finally:
        part = control_plane.apiserver(ensure_control_plane(Silence()), sandbox.paths, sandbox.config)
        processes.ensure(sandbox.paths, part)
        deadline = time.monotonic() + 90
        while "ok" not in sandbox.kubectl("get", "--raw", "/readyz", check=False):
            assert time.monotonic() < deadline, processes.tail(sandbox.paths, control_plane.APISERVER, 10)
            time.sleep(0.3)
