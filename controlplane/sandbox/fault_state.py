"""Faults in force, as `<root>/faults.json` holds them: written by `kfleet sandbox fail | heal`, followed by the proxy.

The file is the only memory of a fault, so that whatever wrote it may die: `heal` finds there what to undo. It is
replaced as a whole (a reader sees the old or the new state), and writers exclude one another by a lock file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.once import locked


class Fault(BaseModel):
    """One fault in force. `since` is seconds since the epoch; `undo` holds what its kind needs to heal it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    target: str
    since: float
    undo: dict[str, str] = Field(default_factory=dict)


class FaultFileError(SandboxError):
    """faults.json is not what we write; the message says how to go on."""


NODES = "nodes"
"""Key of `undo`: comma-separated nodes that the fault keeps down."""

_FAULTS = TypeAdapter(list[Fault])


def faults_file(paths: SandboxPaths) -> Path:
    return paths.root / "faults.json"


def active(paths: SandboxPaths) -> list[Fault]:
    """Faults in force, oldest first. Raises FaultFileError."""
    path = faults_file(paths)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    try:
        return _FAULTS.validate_json(text)
    except ValidationError as error:
        raise FaultFileError(
            f"{path} cannot be read ({error.error_count()} errors); delete it, then run `kfleet sandbox up`"
        ) from error


@contextmanager
def exclusive(paths: SandboxPaths) -> Iterator[None]:
    """One `fail` or `heal` at a time in a sandbox, across processes."""
    with locked(paths.root / "faults.lock"):
        yield


def record(paths: SandboxPaths, fault: Fault) -> None:
    """Add a fault, or replace the one of its kind and target. Call under `exclusive`."""
    _save(paths, [*_others(paths, fault.kind, fault.target), fault])


def forget(paths: SandboxPaths, kind: str, target: str) -> None:
    """Drop a fault; absent is fine. Call under `exclusive`."""
    _save(paths, _others(paths, kind, target))


def find(paths: SandboxPaths, kind: str, target: str) -> Fault | None:
    return next((fault for fault in active(paths) if (fault.kind, fault.target) == (kind, target)), None)


def lost_nodes(paths: SandboxPaths) -> set[str]:
    """Nodes that a fault keeps down: nobody starts them before it is healed."""
    return {node for fault in active(paths) for node in fault.undo.get(NODES, "").split(",") if node}


def _others(paths: SandboxPaths, kind: str, target: str) -> list[Fault]:
    return [fault for fault in active(paths) if (fault.kind, fault.target) != (kind, target)]


def _save(paths: SandboxPaths, faults: list[Fault]) -> None:
    path = faults_file(paths)
    fresh = path.with_suffix(".json.new")
    with fresh.open("w") as file:
        json.dump([fault.model_dump() for fault in faults], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
