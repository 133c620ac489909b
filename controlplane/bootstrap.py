"""The one place that wires adapters to services. Imports of heavy clients happen when they are needed."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import KubeConfig, from_kubeconfig, from_service_account
from controlplane.adapters.passwords import RandomPasswords
from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.pki import Certificate
from controlplane.domain.accounting import CanaryResult
from controlplane.domain.canary import CanaryOptions
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.placement.values import ShardSearch
from controlplane.domain.users.probe import LoginResult
from controlplane.ports import (
    ClientWitness,
    Clock,
    DelayGauge,
    KafkaAdmins,
    KubeApi,
    LedgerWriter,
    Pki,
    RebalancePlanner,
    TenantPlanner,
)
from controlplane.services.access.observe import Certificates, lifetimes
from controlplane.services.cluster import plan as services_plan
from controlplane.services.cluster.kind import ClusterKind, placement
from controlplane.services.cluster.observe import observe_world
from controlplane.services.cluster.plan import ClusterPlan
from controlplane.services.events import EventRecorder
from controlplane.services.homes import Homes
from controlplane.services.intercept import Interceptor, intercept_admins, intercept_kube
from controlplane.services.keys import HOMES
from controlplane.services.lease import LeaseHolder
from controlplane.services.operation.approvals import Approvals
from controlplane.services.operation.engine import Engine, Surroundings
from controlplane.services.operation.frozen import FrozenKind
from controlplane.services.operation.lock import CellGuard, CellLocks
from controlplane.services.operation.outbox import Outbox
from controlplane.services.queue import Key, Reconcile, WorkQueue
from controlplane.services.rebalance.cells import Cells
from controlplane.services.rebalance.recipe import RebalanceRecipe
from controlplane.services.retention import Retention
from controlplane.services.shedding import SheddingService
from controlplane.services.tenants.service import TenantService
from controlplane.services.topics import TopicService
from controlplane.services.users.service import UserService
from controlplane.settings import OperatorSettings


class ClosableAdmins(KafkaAdmins, Protocol):
    async def close(self) -> None: ...


class ClosableWitness(ClientWitness, Protocol):
    async def close(self) -> None: ...


class ClosableGauge(DelayGauge, Protocol):
    async def close(self) -> None: ...


class Planner(RebalancePlanner, TenantPlanner, Protocol):
    """Of both kinds."""


Background = Mapping[str, Callable[[], Coroutine[None, None, None]]]
"""Tasks by name; each runs until it is cancelled."""


@dataclass
class Wiring:
    """An operator's parts, put together and not yet running."""

    kube_config: KubeConfig
    kube: KubeClient
    admins: ClosableAdmins
    witness: ClosableWitness
    gauge: ClosableGauge
    lease: LeaseHolder
    queue: WorkQueue
    reconcile: Reconcile
    """One pass, as the queue runs it."""
    background: Background
    """What runs beside the queue: the ledger's outbox and its retention, nothing without a ledger."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.gauge.close()
        await self.witness.close()
        await self.admins.close()
        await self.kube.close()


def kube_config(kubeconfig: Path | None, pod_root: str) -> KubeConfig:
    """The given kubeconfig, else the pod's ServiceAccount. Raises KubeConfigError."""
    return from_kubeconfig(kubeconfig) if kubeconfig else from_service_account(pod_root)


def operator(
    settings: OperatorSettings, interceptors: Sequence[Interceptor], *, config: KubeConfig | None = None
) -> Wiring:
    """Everything of one operator; `interceptors` stand around each mutating call to Kubernetes and Kafka.

    `config` is the way to the API server where it is known already, else the settings say it.
    """
    clock = SystemClock()
    pod_root = settings.pod_root or os.environ.get("KFLEET_POD_ROOT", "")
    config = config or kube_config(settings.kubeconfig, pod_root)
    identity = settings.identity or socket.gethostname()
    client = KubeClient(
        config,
        field_manager=names.FIELD_MANAGER,
        timeout=settings.kube_timeout,
        # One account, several processes: the audit log can tell which of them it was.
        user_agent=f"{names.OPERATOR}/{identity}",
    )
    interceptors = (*interceptors, CellGuard())
    kube = intercept_kube(client, interceptors)
    real_admins = _kafka_admins(settings)
    admins = intercept_admins(real_admins, interceptors)
    events = EventRecorder(kube, clock)
    locks = CellLocks(kube, clock, identity=identity, duration=settings.cell_lock_duration)
    ledger = _ledger(settings)
    outbox = Outbox(ledger, retry=settings.ledger_retry)
    around = Surroundings(kube, clock, locks, Approvals(kube, outbox), outbox, settings)
    witness = _witness(settings)
    certificates = _certificates(settings)
    kind = ClusterKind(kube, admins, clock, events, settings, witness=witness, certificates=certificates)
    clusters = Engine(kind, around)
    topics = TopicService(kube, admins, clock, events, settings)
    # Each has a planner of its own: tenants do not wait for the plan of a rebalance.
    tenants = TenantService(kube, admins, clock, events, settings, planner=_planner(settings))
    users = UserService(
        kube, admins, pki=_pki(clock), passwords=RandomPasswords(), clock=clock, events=events, settings=settings
    )
    services: dict[str, Reconcile] = {}

    async def reconcile(key: Key) -> float | None:
        return await services[key.kind](key) if is_ours(key, settings) else None

    queue = WorkQueue(reconcile, workers=settings.workers, retry_min=settings.retry_min, retry_max=settings.retry_max)
    gauge = _gauge(settings)
    shedding = SheddingService(kube, gauge, clock, events, settings, wake=queue.add)
    services |= {
        "KafkaCluster": clusters.reconcile,
        "KafkaTopics": topics.reconcile,
        "KafkaUsers": users.reconcile,
        "KafkaTenants": tenants.reconcile,
        "KafkaRebalance": _rebalances(around, admins, events).reconcile,
        "LoadShedding": shedding.reconcile,
        HOMES.kind: Homes(kube, clock, events, settings).reconcile,
    }

    return Wiring(
        kube_config=config,
        kube=client,
        admins=real_admins,
        witness=witness,
        gauge=gauge,
        lease=LeaseHolder(
            kube=client,
            clock=clock,
            namespace=settings.namespace,
            name=settings.lease_name,
            identity=identity,
            duration=settings.lease_duration,
            renew_interval=settings.lease_renew_interval,
        ),
        queue=queue,
        reconcile=reconcile,
        background=_background(ledger, outbox, settings),
    )


def is_ours(key: Key, settings: OperatorSettings) -> bool:
    """Every operator sees all tenants and what they name, also cells that another one looks after; objects that wait
    for a cell may be given theirs by any."""
    return key == HOMES or settings.watches(key.namespace)


def _rebalances(around: Surroundings, admins: KafkaAdmins, events: EventRecorder) -> Engine:
    cells = Cells(around.kube, admins, around.clock, by_name=around.settings.addressing == "DNS")
    recipe = RebalanceRecipe(cells, _planner(around.settings), around.clock, around.settings)
    return Engine(FrozenKind(recipe, around.kube, around.clock, events), around)


def _planner(settings: OperatorSettings) -> Planner:
    from controlplane.adapters.solver.planner import ProcessPlanner  # noqa: PLC0415 - only the operator plans for cells

    return ProcessPlanner(timeout=settings.planning_timeout)


def _pki(clock: Clock) -> Pki:
    from controlplane.adapters.pki import CryptographyPki  # noqa: PLC0415 - only what signs needs OpenSSL

    return CryptographyPki(clock)


def _certificates(settings: OperatorSettings) -> Certificates:
    from controlplane.adapters.tls import TlsProbe  # noqa: PLC0415 - only the operator looks at what nodes serve

    clock = SystemClock()
    return Certificates(_pki(clock), TlsProbe(), clock, lifetimes(settings), by_name=settings.addressing == "DNS")


def _ledger(settings: OperatorSettings) -> LedgerWriter | None:
    """The ledger that the settings name, its tables made when they are needed. Raises LedgerError for a bad URL."""
    if not settings.ledger_url:
        return None
    from controlplane.adapters.ledger.writer import SqlLedger  # noqa: PLC0415 - 25 MB that a fleet without one saves

    return SqlLedger(settings.ledger_url.get_secret_value(), timeout=settings.ledger_timeout, migrate=True)


def _background(ledger: LedgerWriter | None, outbox: Outbox, settings: OperatorSettings) -> Background:
    if ledger is None:
        return {}
    retention = Retention(
        ledger, SystemClock(), days=settings.ledger_retention_days, interval=settings.ledger_sweep_interval
    )
    return {"outbox": outbox.run, "retention": retention.run}


async def cluster_plan(
    kube: KubeApi,
    settings: OperatorSettings,
    *,
    namespace: str,
    name: str,
    what_if: services_plan.WhatIf = services_plan.NOTHING_ELSE,
) -> ClusterPlan:
    """What the operator would do with this cluster next; asks its brokers, so they must be reachable from here."""
    async with _admins(settings) as admins:
        return await services_plan.cluster_plan(
            kube, admins, SystemClock(), placement(settings), namespace=namespace, name=name, what_if=what_if
        )


@contextlib.asynccontextmanager
async def cluster_observer(
    kube: KubeApi, settings: OperatorSettings
) -> AsyncIterator[Callable[[KafkaCluster], Awaitable[ClusterObservation]]]:
    """Observations as the operator makes them, over one set of connections; brokers must be reachable from here."""
    async with _admins(settings) as admins:

        async def observe(cluster: KafkaCluster) -> ClusterObservation:
            by_name = settings.addressing == "DNS"
            return (await observe_world(kube, admins, SystemClock(), cluster, by_name=by_name)).observation

        yield observe


def _kafka_admins(settings: OperatorSettings) -> ClosableAdmins:
    from controlplane.adapters.kafka.admins import KafkaPythonAdmins  # noqa: PLC0415 - only what asks brokers needs it

    return KafkaPythonAdmins(
        threads=settings.kafka_threads,
        timeout=settings.kafka_timeout,
        voter_caught_up_seconds=settings.voter_caught_up_seconds,
    )


def _witness(settings: OperatorSettings) -> ClosableWitness:
    from controlplane.adapters.kafka.witness import (  # noqa: PLC0415 - only the operator needs it
        IDLE_SECONDS,
        ClientWitnesses,
    )

    # Also a pass that has nothing to do but look comes in time to keep a watch alive.
    return ClientWitnesses(threads=settings.kafka_threads, idle=max(IDLE_SECONDS, 1.5 * settings.resync_interval))


def _gauge(settings: OperatorSettings) -> ClosableGauge:
    from controlplane.adapters.kafka.delays import DelayGauges  # noqa: PLC0415 - only the operator needs it

    return DelayGauges(interval=settings.delay_interval)


@contextlib.asynccontextmanager
async def _admins(settings: OperatorSettings) -> AsyncIterator[ClosableAdmins]:
    admins = _kafka_admins(settings)
    try:
        yield admins
    finally:
        await admins.close()


def shard_search() -> ShardSearch:
    """Exact search for small placements. Raises ImportError without the extra kfleet[solver]."""
    from controlplane.adapters.solver.shard_search import CpSatShardSearch  # noqa: PLC0415 - OR-tools brings pandas

    return CpSatShardSearch()


def canary(
    options: CanaryOptions, journal: Path, stop: threading.Event, *, warm_up_s: float, say: Callable[[str], None]
) -> CanaryResult:
    """Runs one canary until `stop` is set or its duration is over. Raises CanaryError."""
    from controlplane.adapters.journal import JournalWriter  # noqa: PLC0415 - only the canary needs librdkafka
    from controlplane.adapters.kafka.canary import Canary  # noqa: PLC0415 - the same

    with JournalWriter(journal) as writer:
        return Canary(options, writer, say).run(stop, warm_up_s=warm_up_s)


def log_in(
    settings: Mapping[str, str],
    topics: Sequence[str],
    groups: Sequence[str],
    seconds: float,
    coordinator_seconds: float,
) -> LoginResult:
    """Log in as a user's client does; blocking."""
    from controlplane.adapters.kafka.login import log_in as real_log_in  # noqa: PLC0415 - librdkafka

    return real_log_in(settings, topics, groups, seconds, coordinator_seconds)


def read_certificate(pem: str) -> Certificate:
    """The first of a PEM text. Raises PkiError."""
    return _pki(SystemClock()).read(pem)[0]
