"""Load shedding of one cluster: look how long requests wait on its brokers, step the ladder, write what is shed.

Only the status is written, and it is written before anything is shed: rebalances and quotas follow from what stands
there (domain/rebalance/gates.py, domain/shedding/tighten.py). So nothing has to be remembered to give back what was
shed, and an operator that ends anywhere leaves a level behind that the next one goes on from. The times that run are in
memory: they begin anew with another operator, and whenever the level in the status is not the one that was left there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.load_shedding import LoadSheddingStatus, SheddingMode
from controlplane.api.validate import check_shedding
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.cluster.properties import REPLICATION_PORT
from controlplane.domain.shedding.ladder import Bounds, Ladder, Level, judged, step
from controlplane.domain.shedding.measure import saturations
from controlplane.domain.shedding.status import REASONS, level_of, shedding_status, with_status, without_figures
from controlplane.ports import ClientTls, Clock, ConflictError, DelayGauge, KubeApi, NotFoundError, Object
from controlplane.services.access.way import way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import PODS
from controlplane.services.events import EventRecorder
from controlplane.services.keys import users_key
from controlplane.services.queue import Key
from controlplane.settings import OperatorSettings

FIGURES_SECONDS = 60.0
"""Figures alone are written no more often than this."""


@dataclass(frozen=True, slots=True)
class _Ground:
    """How brokers are reached, as of `read_at` (monotonic)."""

    read_at: float
    brokers: Mapping[int, tuple[str, int]]
    serving: frozenset[int]
    """Those whose pods are ready."""
    tls: ClientTls | None


class SheddingService:
    def __init__(
        self,
        kube: KubeApi,
        gauge: DelayGauge,
        clock: Clock,
        events: EventRecorder,
        settings: OperatorSettings,
        *,
        wake: Callable[[Key], None],
    ) -> None:
        """`wake` is called with the key of the cell's users once a level has changed."""
        self._kube, self._gauge, self._clock, self._events = kube, gauge, clock, events
        self._settings, self._wake = settings, wake
        self._ladders: dict[str, Ladder] = {}
        self._grounds: dict[str, _Ground] = {}
        self._told: dict[str, float] = {}
        """When a status was written last, by cell (monotonic)."""

    async def reconcile(self, key: Key) -> float | None:
        """`key` names the cluster. None while nothing is to be watched: an event of the cluster will wake us."""
        try:
            obj = await self._kube.get(KAFKA_CLUSTERS, key.name, key.namespace)
        except NotFoundError:
            await self._forget(key.cell)
            return None
        try:
            cluster = KafkaCluster.model_validate(obj)
        except ValidationError:  # the cluster's own pass says so
            return self._settings.resync_interval
        spec = cluster.spec.load_shedding
        if spec.mode is SheddingMode.DISABLED or cluster.metadata.deletion_timestamp is not None:
            await self._forget(key.cell)
            lifted = cluster.status.load_shedding is None or await self._write(key, obj, cluster, None)
            return None if lifted else self._settings.settle_interval
        if check_shedding(spec):  # what is shed stays as it is until there is a spec that can be followed
            return self._settings.resync_interval
        return await self._look(key, obj, cluster)

    async def _look(self, key: Key, obj: Object, cluster: KafkaCluster) -> float:
        spec, was = cluster.spec.load_shedding, cluster.status.load_shedding
        ground = await self._ground(key.cell, cluster)
        delays = await self._gauge.look(key.cell, ground.brokers, ground.tls)
        now = self._clock.monotonic()
        found, level = saturations(delays, now), level_of(cluster.status)
        before = self._ladders.get(key.cell)
        if before is None or before.level is not level:
            before = Ladder(level)
        bounds = Bounds.of(spec)
        after = step(before, judged(found, ground.serving, bounds), now, bounds)
        status = shedding_status(was, after.level, found, spec, self._clock.now())
        same = without_figures(status) == without_figures(was)
        recent = now - self._told.get(key.cell, float("-inf")) < FIGURES_SECONDS
        if not (same and (status == was or recent)) and not await self._write(key, obj, cluster, status):
            return self._settings.settle_interval
        self._ladders[key.cell] = after
        return self._settings.delay_interval

    async def _ground(self, cell: str, cluster: KafkaCluster) -> _Ground:
        """Read anew as often as everything is. Raises KubeError."""
        now, known = self._clock.monotonic(), self._grounds.get(cell)
        if known is not None and now - known.read_at < self._settings.resync_interval:
            return known
        meta = cluster.metadata
        ours = f"{names.CLUSTER}={meta.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        nodes = observe_nodes(await self._kube.list(PODS, meta.namespace, labels=ours, cached=True), ())
        way = await way_to(self._kube, cluster, by_name=self._settings.addressing == "DNS")
        hosts = {node.id: host for node in nodes if node.is_broker and (host := way.host(node))}
        brokers = {node: (host, REPLICATION_PORT) for node, host in hosts.items()} if way.is_open else {}
        serving = frozenset(node.id for node in nodes if node.id in brokers and node.pod is not None and node.pod.ready)
        found = self._grounds[cell] = _Ground(now, brokers, serving, way.tls)
        return found

    async def _write(self, key: Key, obj: Object, cluster: KafkaCluster, shedding: LoadSheddingStatus | None) -> bool:
        """Whether it stands in the status; if not, the object has moved and is looked at again. Raises KubeError."""
        status = with_status(cluster, shedding, self._clock.now())
        try:
            await self._kube.replace(KAFKA_CLUSTERS, obj | {"status": status.to_object()}, subresource="status")
        except (ConflictError, NotFoundError):
            return False
        self._told[key.cell] = self._clock.monotonic()
        before, after = level_of(cluster.status), level_of(status)
        if before is not after:
            self._wake(users_key(key.namespace, key.name))
            await self._tell(
                obj, before, after, shedding.message if shedding is not None else "spec.loadShedding.mode is Disabled."
            )
        return True

    async def _tell(self, obj: Object, before: Level, after: Level, why: str) -> None:
        if after > before:
            await self._events.record(obj, "Warning", REASONS[after], why)
        else:
            await self._events.record(obj, "Normal", "LoadReleased", f"from level {before} to {after}. {why}")

    async def _forget(self, cell: str) -> None:
        await self._gauge.forget(cell)
        for remembered in (self._ladders, self._grounds, self._told):
            remembered.pop(cell, None)
