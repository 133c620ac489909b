"""ports.DelayGauge in memory: requests wait on each broker as long as the test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.domain.shedding.measure import LATEST, Delay
from controlplane.ports import ClientTls, Clock

AT_REST = 0.002


class FakeDelays:
    """`waits` are the seconds that a request waits by broker, beyond what it takes at rest; who is not there waits for
    nothing. `away` are brokers that do not answer. Each look finds LATEST more samples of everybody else."""

    def __init__(self, clock: Clock) -> None:
        self.waits: dict[int, float] = {}
        self.away: set[int] = set()
        self.watched: dict[str, Mapping[int, tuple[str, int]]] = {}
        self._clock = clock
        self._samples: dict[tuple[str, int], list[Delay]] = {}

    async def look(
        self, cluster_key: str, brokers: Mapping[int, tuple[str, int]], tls: ClientTls | None = None
    ) -> Mapping[int, Sequence[Delay]]:
        self.watched[cluster_key] = brokers
        now = self._clock.monotonic()
        found = {}
        for broker in sorted(brokers):
            known = self._samples.setdefault((cluster_key, broker), [Delay(now, AT_REST)])
            if broker not in self.away:
                known += [Delay(now, AT_REST + self.waits.get(broker, 0.0))] * LATEST
            found[broker] = tuple(known)
        return found

    async def forget(self, cluster_key: str) -> None:
        self.watched.pop(cluster_key, None)
        self._samples = {key: samples for key, samples in self._samples.items() if key[0] != cluster_key}
