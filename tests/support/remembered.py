"""Decisions of a cluster beside those of a process that remembers nothing, and what each was asked under."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from controlplane.domain.cluster.world import World
from controlplane.domain.operation.permit import Permit
from controlplane.services.cluster.kind import Action, ClusterKind
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.kind import Decision


def remembering() -> Iterator[Any]:
    """Every function of the domain and its values that remembers what it has made, whoever wrote it."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("controlplane.domain.", "controlplane.api.")):
            yield from (value for value in vars(module).values() if hasattr(value, "cache_clear"))


def forget() -> None:
    for function in remembering():
        function.cache_clear()


class Beside:
    """In place of an engine's ClusterKind, which it asks; what it was asked, and what came out, is kept."""

    def __init__(self, kind: ClusterKind) -> None:
        self._kind = kind
        self.asked: list[tuple[World, Permit, float]] = []
        self._found: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)

    def decide(self, world: World, permit: Permit, now: float) -> Decision[Action]:
        found = self._kind.decide(world, permit, now)
        self.asked.append((world, permit, now))
        self._found.append(repr(found))
        return found

    def stale(self) -> list[tuple[str, str]]:
        """What came out otherwise than from the same world once everything is forgotten, as text: numbers that are
        equal may be written in several ways."""
        found = []
        for asked, before in zip(self.asked, self._found, strict=True):
            forget()
            if before != (fresh := repr(self._kind.decide(*asked))):
                found.append((before, fresh))
        return found


def beside(engine: Engine) -> Beside:
    """The engine's kind from now on."""
    kind = engine._kind
    assert isinstance(kind, ClusterKind)
    engine._kind = seen = Beside(kind)
    return seen
