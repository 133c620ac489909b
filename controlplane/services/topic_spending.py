"""What tenants have in each cell, for limits that are of all their cells together.

A status says what was measured there last, some time ago. This says what this operator saw at its latest look at the
topics of the cell, and what it has granted since. Whoever decides reads it, decides, and notes what that grants without
waiting for anything in between: in one event loop no two cells are decided at the same moment, and none by what was
known before another one was. Cells that another operator looks after are counted as their status has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.domain.observation import TopicPartition
from controlplane.domain.tenants.directory import Cell, Directory
from controlplane.domain.topics.limits import Amount, is_shared
from controlplane.ports import Clock


class Spending:
    """What was noted counts for `seconds`: a cell that is not looked at any more is counted anew by who asks."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._seen: dict[Cell, tuple[float, Mapping[str, Amount]]] = {}
        self._sizes: dict[Cell, Mapping[TopicPartition, int]] = {}

    def note(self, cell: Cell, spent: Mapping[str, Amount]) -> None:
        """`spent` by tenant, what is granted and not made yet counted."""
        self._seen[cell] = self._clock.monotonic(), spent
        for gone in [one for one in self._seen if not self.knows(one)]:
            del self._seen[gone]

    def knows(self, cell: Cell) -> bool:
        found = self._seen.get(cell)
        return found is not None and self._clock.monotonic() - found[0] < self._seconds

    def elsewhere(self, cell: Cell) -> dict[Cell, Mapping[str, Amount]]:
        """By cell and tenant, but for this cell."""
        return {other: spent for other, (_, spent) in self._seen.items() if other != cell and self.knows(other)}

    def sizes(
        self, cell: Cell, measured: Mapping[TopicPartition, int], known: Directory
    ) -> Mapping[TopicPartition, int]:
        """Bytes of replicas: `measured` if they have been, else as they were last, where they matter elsewhere."""
        if not measured:
            return self._sizes.get(cell, {})
        owners = {topic: known.of_topic(topic) for topic in {one.topic for one in measured}}
        shared = {topic for topic, owner in owners.items() if owner is not None and is_shared(owner)}
        self._sizes[cell] = {one: size for one, size in measured.items() if one.topic in shared}
        return measured
