"""What kopf watches and which key of the queue each event wakes. Nothing is decided here.

Only `on.event`: any other handler makes kopf keep annotations, finalizers or tasks on every object. Handlers swallow
exceptions and are never retried, so all they do is wake the queue.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf

from controlplane.api import names
from controlplane.api.group import GROUP, VERSION
from controlplane.api.load_shedding import SheddingMode
from controlplane.bootstrap import Wiring
from controlplane.services.cluster.observe import CORDONED
from controlplane.services.keys import (
    HOMES,
    cluster_key,
    rebalance_key,
    shedding_key,
    tenants_key,
    topics_key,
    users_key,
)
from controlplane.services.queue import Key, WorkQueue
from controlplane.settings import OperatorSettings

WATCH_SERVER_SECONDS = 300
"""An integer: kopf passes it on as it is, and the API server refuses 300.0."""

WATCH_CLIENT_SECONDS = 310.0
WATCH_CONNECT_SECONDS = 30.0
WATCH_BACKOFF_SECONDS = 2.0
LOGIN_SECONDS = 300.0
IN_BULK: dict[str, Callable[[str, str], Key]] = {"kafkatopics": topics_key, "kafkausers": users_key}
"""Kinds whose objects reconcile all together, by the cluster that they name or have been given."""


def registry(wiring: Wiring, settings: OperatorSettings) -> tuple[kopf.OperatorRegistry, kopf.OperatorSettings]:
    """A registry of our handlers only, and kopf's settings for watching."""
    handlers = kopf.OperatorRegistry()
    queue = wiring.queue

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return _connection(wiring, settings)

    @kopf.on.event(GROUP, VERSION, "kafkaclusters", registry=handlers)
    async def cluster(
        type: str | None,  # noqa: A002 - kopf's
        namespace: str | None,
        name: str,
        spec: kopf.Spec,
        status: kopf.Status,
        **_: Any,
    ) -> None:
        queue.add(cluster_key(namespace or "", name))
        if (spec.get("loadShedding") or {}).get("mode") == SheddingMode.ENABLED or "loadShedding" in status:
            queue.add(shedding_key(namespace or "", name))
        if type in (None, "ADDED"):
            for of_all in IN_BULK.values():
                queue.add(of_all(namespace or "", name), settings.topic_batch_delay)
            queue.add(tenants_key(namespace or "", name))

    for plural, of_cluster in IN_BULK.items():
        kopf.on.event(GROUP, VERSION, plural, registry=handlers, id=plural)(
            waking_all(queue, of_cluster, settings.topic_batch_delay)
        )

    @kopf.on.event(GROUP, VERSION, "kafkarebalances", registry=handlers, id="kafkarebalances")
    async def rebalance(namespace: str | None, name: str, **_: Any) -> None:
        queue.add(rebalance_key(namespace or "", name))

    tenants = waking_cells(queue, settings.topic_batch_delay)
    kopf.on.event(GROUP, VERSION, "kafkatenants", registry=handlers, id="kafkatenants")(tenants)

    kopf.on.event(GROUP, VERSION, "kafkarebalances", registry=handlers, id="moves")(waking_who_asked(queue))

    @kopf.on.event(GROUP, VERSION, "approvals", registry=handlers, id="approvals")
    async def approval(namespace: str | None, spec: kopf.Spec, **_: Any) -> None:
        if key := _decided(namespace or "", spec.get("targetRef") or {}):
            queue.add(key)

    child = _machines(handlers, queue)
    kopf_settings = kopf.OperatorSettings()
    for plural in ("pods", "persistentvolumeclaims", "services"):
        kopf.on.event("", "v1", plural, registry=handlers, id=plural)(child)
        kopf_settings.watching.label_selectors["v1", plural] = names.CLUSTER
    kopf_settings.watching.field_selectors["v1", "nodes"] = CORDONED
    kopf_settings.watching.server_timeout = WATCH_SERVER_SECONDS
    kopf_settings.watching.client_timeout = WATCH_CLIENT_SECONDS
    kopf_settings.watching.connect_timeout = WATCH_CONNECT_SECONDS
    kopf_settings.watching.reconnect_backoff = WATCH_BACKOFF_SECONDS
    kopf_settings.posting.enabled = False
    kopf_settings.scanning.disabled = True
    return handlers, kopf_settings


def _machines(handlers: kopf.OperatorRegistry, queue: WorkQueue) -> Callable[..., Awaitable[None]]:
    """Registers who is woken by cordons; the handler of pods and volumes, which learns who lives where."""
    residents: dict[str, set[Key]] = defaultdict(set)
    cordoned: set[str] = set()

    async def child(namespace: str | None, labels: kopf.Labels, spec: kopf.Spec, **_: Any) -> None:
        if name := labels.get(names.CLUSTER):
            key = cluster_key(namespace or "", name)
            queue.add(key)
            if machine := spec.get("nodeName"):
                residents[machine].add(key)

    @kopf.on.event("", "v1", "nodes", registry=handlers, id="nodes")
    async def machine(type: str | None, name: str, spec: kopf.Spec, **_: Any) -> None:  # noqa: A002 - kopf's
        """Clusters that ever had a pod there look when it is cordoned or not any more; its heartbeats wake nobody.

        Only cordoned machines are watched: one that is uncordoned leaves the selection, which arrives as DELETED. One
        that is listed anew may have been uncordoned unseen meanwhile, so that it wakes too.
        """
        closed = type != "DELETED" and bool(spec.get("unschedulable"))
        if closed == (name in cordoned) and (type == "MODIFIED" or not closed):
            return
        (cordoned.add if closed else cordoned.discard)(name)
        for key in residents.get(name, ()):
            queue.add(key)

    return child


def _connection(wiring: Wiring, settings: OperatorSettings) -> kopf.ConnectionInfo:
    config = wiring.kube_config
    return kopf.ConnectionInfo(
        server=config.server,
        ca_data=config.ca_pem.encode() if config.ca_pem else None,
        insecure=not config.verify,
        token=config.bearer(),
        certificate_path=config.client_cert_file,
        private_key_path=config.client_key_file,
        default_namespace=settings.namespace,
        # Bound tokens rotate on disk: log in again well before one runs out.
        expiration=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=LOGIN_SECONDS),
    )


def _decided(namespace: str, target: Mapping[str, Any]) -> Key | None:
    """Whose plan an Approval is about."""
    keys = {"KafkaCluster": cluster_key, "KafkaRebalance": rebalance_key}
    key, name = keys.get(target.get("kind", "")), target.get("name")
    return key(namespace, name) if key and name else None


def waking_all(queue: WorkQueue, key_of: Callable[[str, str], Key], delay: float) -> Callable[..., Awaitable[None]]:
    """A handler that wakes all objects of the cluster which one of them names or was given, once others may have joined
    it; for one of a tenant that was given none yet, who gives it one."""

    async def one(namespace: str | None, spec: kopf.Spec, status: kopf.Status, **_: Any) -> None:
        if name := (spec.get("clusterRef") or {}).get("name"):
            queue.add(key_of(namespace or "", name), delay)
        elif spec.get("tenantRef"):
            cell = status.get("cell")
            queue.add(key_of(*cell.split("/", 1)) if cell else HOMES, delay)

    return one


def waking_who_asked(queue: WorkQueue) -> Callable[..., Awaitable[None]]:
    """A handler that wakes whoever a KafkaRebalance was made for: how it stands decides where a tenant may be, and when
    a cluster's own operation goes on."""

    async def move(namespace: str | None, labels: kopf.Labels, spec: kopf.Spec, **_: Any) -> None:
        for label, key_of in ((names.TENANT, tenants_key), (names.ASKED_BY, cluster_key)):
            if label in labels:
                queue.add(key_of(namespace or "", spec["clusterRef"]["name"]))

    return move


def waking_cells(queue: WorkQueue, delay: float) -> Callable[..., Awaitable[None]]:
    """A handler that wakes the tenants of every cell that one of them names or has left something in, and what belongs
    to tenants there; once what it says is new, also those that may have waited for it."""

    async def one(meta: kopf.Meta, spec: kopf.Spec, status: kopf.Status, **_: Any) -> None:
        for cell in (*(spec.get("cells") or ()), *(status.get("cells") or ())):
            namespace, name = cell.get("namespace"), cell.get("name")
            if namespace and name:
                queue.add(tenants_key(namespace, name))
                for of_all in IN_BULK.values():
                    queue.add(of_all(namespace, name), delay)
        # Figures in a status move all the time; what a tenant has changes with its spec.
        if status.get("observedGeneration") != meta.get("generation"):
            queue.add(HOMES, delay)

    return one
