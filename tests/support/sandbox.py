"""A sandbox for tests: its own state directory, brought up and purged like a user's, shared by pytest-xdist workers.

sandbox.kubectl("get", "nodes")            kubectl as the admin; AssertionError with its words when it fails
sandbox.kfleet("sandbox", "status")        the CLI as a process, against this sandbox's state directory
async with sandbox.client() as kube: ...   KubeApi as the admin
sandbox.processes()                        every process on the machine that belongs to it, containers included
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.sandbox import claims, lifecycle
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.files import write_private
from controlplane.sandbox.node import procfs
from controlplane.sandbox.once import locked, remove_tree
from controlplane.sandbox.progress import Progress, Silence

KFLEET = Path(sys.executable).parent / "kfleet"
COMMAND_SECONDS = 300.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Sandbox:
    paths: SandboxPaths

    @property
    def config(self) -> SandboxConfig:
        return self.paths.load()

    @property
    def kubeconfig(self) -> Path:
        return self.paths.kubeconfig()

    @property
    def environment(self) -> dict[str, str]:
        """For processes that should find this sandbox by its name."""
        return os.environ | {"KFLEET_STATE": str(self.paths.root.parents[1]), "KUBECONFIG": str(self.kubeconfig)}

    def client(self, identity: str = "admin") -> KubeClient:
        """Use as an async context manager; `identity` is a kubeconfig's name (node-a, proxy, ...)."""
        return KubeClient(from_kubeconfig(self.paths.kubeconfig(identity)), field_manager="kfleet-test")

    def kfleet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KFLEET, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Standard output, or standard error when it failed and `check` is off."""
        done = subprocess.run(
            [ensure_control_plane(Progress()) / "kubectl", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stderr if done.returncode else done.stdout

    def up(self, overrides: dict[str, Any] | None = None, *, operator: bool = False) -> SandboxConfig:
        return lifecycle.up(self.paths, Silence(), overrides, operator=operator)

    def down(self, *, purge: bool = False) -> None:
        lifecycle.down(self.paths, Silence(), purge=purge)

    def processes(self) -> dict[int, str]:
        """Command lines by pid of all that names this sandbox's root in its command line, directory or environment."""
        root = str(self.paths.root)
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
                directory = (entry / "cwd").readlink()
            except OSError:
                continue
            if procfs.start_time(int(entry.name)) and (f"{root}/" in f"{command}/{directory}/" or root in environment):
                found[int(entry.name)] = command
        return found


def wait(what: str, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true value of `condition`; AssertionError when it does not come in time."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(POLL_SECONDS)


@contextmanager
def running_sandbox(
    state: Path, name: str, overrides: dict[str, Any] | None = None, *, operator: bool = False
) -> Iterator[Sandbox]:
    """A sandbox of its own for tests that break it."""
    sandbox = Sandbox(SandboxPaths(state / "sandboxes" / name))
    try:
        sandbox.up(overrides, operator=operator)
        yield sandbox
    finally:
        sandbox.down(purge=True)


@contextmanager
def shared_sandbox(state: Path, name: str) -> Iterator[Sandbox]:
    """One sandbox for all pytest processes that use `state`: the first brings it up, the last takes it down.

    Who uses it stands in a file as pids, so that a worker that was killed does not keep it for ever.
    """
    purge_abandoned()
    sandbox = Sandbox(SandboxPaths(state / "sandboxes" / name))
    users = _users_file(sandbox.paths.root)
    with locked(users.with_suffix(".lock")):
        _write_users(users, {*_live_users(users), os.getpid()})
        sandbox.up()
    try:
        yield sandbox
    finally:
        with locked(users.with_suffix(".lock")):
            left = _live_users(users) - {os.getpid()}
            _write_users(users, left)
            if not left:
                sandbox.down(purge=True)


def wait_until_alone(sandbox: Sandbox, seconds: float) -> None:
    """Until no other live process uses a shared sandbox: what it keeps of them is complete then."""
    users = _users_file(sandbox.paths.root)
    wait("the other test processes to end", lambda: _live_users(users) <= {os.getpid()}, seconds)


def purge_abandoned() -> None:
    """Take down shared sandboxes whose test runs were killed: nobody else would."""
    register = claims.runtime_home() / "sandboxes.json"
    roots = [Path(text) for text in json.loads(register.read_text())] if register.exists() else []
    for root in roots:
        users = _users_file(root)
        if users.exists() and not _live_users(users):
            with locked(users.with_suffix(".lock")):
                if not _live_users(users):
                    lifecycle.down(SandboxPaths(root), Silence(), purge=True)
                    remove_tree(root)


def _users_file(root: Path) -> Path:
    return root.parent / f"{root.name}.users.json"


def _live_users(users: Path) -> set[int]:
    known = json.loads(users.read_text()) if users.exists() else []
    return {pid for pid, started in known if procfs.alive(pid, started)}


def _write_users(users: Path, pids: set[int]) -> None:
    """Atomic: `purge_abandoned` of another run reads it without the lock."""
    write_private(users, json.dumps([(pid, procfs.start_time(pid)) for pid in sorted(pids)]).encode())
