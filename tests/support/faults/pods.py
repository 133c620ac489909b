"""A Kafka node that dies, stays dead for a while, or hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from support.sandbox import Sandbox

from controlplane.sandbox import faults
from controlplane.sandbox.faults.pods import containers, kill

AGAIN_SECONDS = 0.2


def kill_once(sandbox: Sandbox, target: str) -> None:
    """`target` is namespace/pod; its process node starts it again."""
    faults.fail(sandbox.paths, "kill", target)


@contextmanager
def kept_dead(sandbox: Sandbox, target: str) -> Iterator[None]:
    """SIGKILL, and again whenever its process node has started it again, until the block ends."""
    over = threading.Event()

    def keep() -> None:
        while not over.is_set():
            if found := containers(sandbox.paths, target):
                kill(found)
            over.wait(AGAIN_SECONDS)

    kill_once(sandbox, target)
    thread = threading.Thread(target=keep, name=f"kept dead: {target}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def frozen(sandbox: Sandbox, target: str) -> Iterator[None]:
    """SIGSTOP: its sockets stay open and nobody answers. The kernel still accepts, so a TCP probe finds it ready."""
    faults.fail(sandbox.paths, "freeze", target)
    try:
        yield
    finally:
        faults.heal(sandbox.paths, "freeze", target)


def wait_ended(sandbox: Sandbox, target: str, seconds: float = 180.0) -> None:
    """Until the pod runs no process of the one that runs now: asked often, since its successor comes at once."""
    before = {one.pid for one in containers(sandbox.paths, target)}
    deadline = time.monotonic() + seconds
    while before & {one.pid for one in containers(sandbox.paths, target)}:
        assert time.monotonic() < deadline, f"{target} did not end within {seconds:g} s"
        time.sleep(0.05)
