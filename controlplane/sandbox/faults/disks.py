"""Losing a disk: a claim's volume is empty from one moment to the next, as after a replacement of the drive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from controlplane.adapters.kubernetes.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.fault_state import Fault
from controlplane.sandbox.faults.base import FaultError, fetch, fetch_all, split
from controlplane.sandbox.faults.pods import containers, freeze, kill
from controlplane.sandbox.node.records import ContainerRecord
from controlplane.sandbox.provisioner.volumes import UnsafePathError, directory_of


class LoseDisk:
    """The data is moved aside by one rename, never deleted, while the claim's pods stand still; then they are killed.

    What is written between `fail` and `heal` is kept beside it when the old data comes back.
    """

    name = "disk"
    description = "empty a claim's volume and kill its pods; heal puts the data back"
    target = "namespace/claim, e.g. default/data-0-quickstart-broker-0"
    lasting = True
    repeatable = False

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        namespace, name = split(target, "claim")
        claim = fetch(paths, PERSISTENT_VOLUME_CLAIMS, name, namespace)
        volume_name = claim["spec"].get("volumeName")
        if not volume_name:
            raise FaultError(f"claim {target} is not bound to a volume yet, so that it has no disk to lose")
        volume = fetch(paths, PERSISTENT_VOLUMES, volume_name)
        try:
            path = directory_of(volume, paths)
        except UnsafePathError as error:
            raise FaultError(f"claim {target}: {error}") from error
        if not path.is_dir():
            raise FaultError(f"claim {target}: its directory {path} is gone already")
        return {"path": str(path), "aside": str(_aside(paths, path.name))}

    def inject(self, paths: SandboxPaths, target: str, undo: Mapping[str, str]) -> str:
        path, aside = Path(undo["path"]), Path(undo["aside"])
        users = _users(paths, target)
        freeze(users)
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        path.mkdir(mode=aside.stat().st_mode & 0o7777)
        kill(users)
        return f"emptied the volume of claim {target} (its data is in {aside}); {_killed(users)}"

    def heal(self, paths: SandboxPaths, fault: Fault, forget: Callable[[], None]) -> str:
        path, aside = Path(fault.undo["path"]), Path(fault.undo["aside"])
        users = _users(paths, fault.target)
        if not aside.is_dir():  # died after the rename of an earlier heal, or before that of `fail`
            kill(users)
            forget()
            return f"the volume of claim {fault.target} has its data; {_killed(users)}"
        if not path.parent.is_dir():
            raise FaultError(f"the node of claim {fault.target} has no volumes any more; its data stays in {aside}")
        freeze(users)
        kept = ""
        if path.is_dir() and any(path.iterdir()):
            meanwhile = aside.with_name(f"{aside.name}.meanwhile-{int(time.time())}")
            path.rename(meanwhile)
            kept = f"; what was written meanwhile is in {meanwhile}"
        elif path.is_dir():
            path.rmdir()
        aside.rename(path)
        kill(users)
        forget()
        return f"put the data of claim {fault.target} back; {_killed(users)}{kept}"


def _aside(paths: SandboxPaths, volume: str) -> Path:
    return paths.root / "lost-disks" / volume


def _users(paths: SandboxPaths, target: str) -> list[ContainerRecord]:
    """Running containers of the pods that mount the claim."""
    namespace, claim = split(target, "claim")
    pods = [
        pod["metadata"]["name"]
        for pod in fetch_all(paths, PODS, namespace)
        for volume in pod["spec"].get("volumes") or []
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim
    ]
    return [container for pod in pods for container in containers(paths, f"{namespace}/{pod}")]


def _killed(users: list[ContainerRecord]) -> str:
    pods = ", ".join(sorted({f"{one.namespace}/{one.pod}" for one in users}))
    return f"killed {pods}" if pods else "no pod was using it"
