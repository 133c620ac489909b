"""A small volume that can be full: a tmpfs over the directory of a node's claim. Needs the right to mount (root)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cell import Cell
from support.sandbox import Sandbox

from controlplane.sandbox.faults.pods import containers, freeze, kill

SPARE_MIB = 96
CHUNK = bytes(1 << 20)


@dataclass(frozen=True)
class SmallVolume:
    directory: Path
    size_mib: int

    @property
    def _ballast(self) -> Path:
        return self.directory / ".ballast"

    def fill(self) -> None:
        """To the last byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            chunk = CHUNK
            while chunk:
                try:
                    ballast.write(chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk = chunk[: len(chunk) // 2]

    def free_bytes(self) -> int:
        stat = os.statvfs(self.directory)
        return stat.f_bavail * stat.f_frsize

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_volume(sandbox: Sandbox, cell: Cell, pod: str, claim: str) -> Iterator[SmallVolume]:
    """The pod's data moves into a tmpfs over the claim's directory while it stands still; then it is killed, and its
    process node starts it on that. What is written there is gone when the block ends: end the cluster before."""
    volume = cell.get("pv", cell.get("pvc", claim)["spec"]["volumeName"])
    directory = Path(volume["spec"]["local"]["path"])
    assert directory.is_relative_to(sandbox.paths.root), directory
    users = containers(sandbox.paths, f"{cell.namespace}/{pod}")
    freeze(users)
    used = int(_run("du", "-sm", str(directory)).split()[0])
    aside = directory.with_name(f"{directory.name}.before")
    _run("cp", "-a", "--sparse=always", str(directory), str(aside))
    size_mib = used + SPARE_MIB
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=755", "kfleet-campaign", str(directory))
    try:
        _run("cp", "-a", "--sparse=always", f"{aside}/.", str(directory))
        kill(users)
        yield SmallVolume(directory, size_mib)
    finally:
        _run("umount", "--lazy", str(directory))
        _run("rm", "-rf", str(aside))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()} (mounting needs root)"
    return done.stdout
