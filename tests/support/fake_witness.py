"""ports.ClientWitness in memory: clients feel what the test says, from the first look on."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.domain.observation import (
    BrokerCanary,
    CanaryObservation,
    ClientObservation,
    GroupObservation,
)
from controlplane.ports import ClientTls


class FakeWitness:
    """`looks` are the leaders of the canary's partitions at each look. Time is the observation's."""

    def __init__(self) -> None:
        self.canary: CanaryObservation | None = None
        """What its probes say once there are partitions to probe; None: all is well."""
        self.groups: tuple[GroupObservation, ...] | None = ()
        self.looks: list[tuple[int | None, ...] | None] = []
        self._leaders: tuple[int | None, ...] = ()
        self._since: dict[str, float] = {}

    async def look(
        self,
        cluster_key: str,
        bootstrap_servers: Sequence[str],
        leaders: Sequence[int | None] | None,
        as_of: float,
        tls: ClientTls | None = None,
    ) -> ClientObservation:
        self.looks.append(None if leaders is None else tuple(leaders))
        self._leaders = self._leaders if leaders is None else tuple(leaders)
        since = self._since.setdefault(cluster_key, as_of)
        seen = (self.canary or well(self._leaders)) if self._leaders else None
        return ClientObservation(as_of, as_of - since, seen, self.groups)

    async def forget(self, cluster_key: str) -> None:
        self._since.pop(cluster_key, None)


def well(leaders: Sequence[int | None]) -> CanaryObservation:
    """Thirty probes of each partition, all answered within 4 ms."""
    brokers = tuple(BrokerCanary(leader, 30, 0, 0.004) for leader in leaders if leader is not None)
    return CanaryObservation(30 * len(leaders), 0, 0.004, 0.02, brokers)
