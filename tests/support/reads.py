"""Objects read over a connection that stays open. Tests look several times a second while brokers start on the same two
cores, and a kubectl costs more processor each time than many of the requests that it makes.

What tests do to a cluster they do with kubectl, as a person would; this is for looking.
"""

from __future__ import annotations

import functools
import http.client
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.adapters.kubernetes.resources import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SECRETS,
    SERVICES,
)
from controlplane.ports import Resource
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.rebalance.asked import REBALANCES
from controlplane.services.tenants.read import KAFKA_TENANTS
from controlplane.services.topic_status import KAFKA_TOPICS

SECONDS = 300.0
Object = dict[str, Any]


def _named(resource: Resource, *others: str) -> dict[str, Resource]:
    """As kubectl takes it: `kafkatopics.kfleet.dev`, `pods`."""
    full = f"{resource.plural}.{resource.group}" if "." in resource.group else resource.plural
    return dict.fromkeys((full, *others), resource)


KINDS: dict[str, Resource] = {
    **_named(PODS),
    **_named(NODES),
    **_named(SERVICES),
    **_named(EVENTS),
    **_named(CONFIG_MAPS, "cm"),
    **_named(SECRETS, "secret"),
    **_named(LEASES, "lease"),
    **_named(PERSISTENT_VOLUME_CLAIMS, "pvc"),
    **_named(POD_DISRUPTION_BUDGETS, "pdb", "poddisruptionbudgets"),
    **_named(KAFKA_CLUSTERS),
    **_named(KAFKA_TOPICS),
    **_named(KAFKA_USERS),
    **_named(KAFKA_TENANTS),
    **_named(REBALANCES),
}
"""What `Cell.get` reads by itself; everything else goes through kubectl."""


class Reader:
    """Of one kubeconfig; one connection a thread."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = from_kubeconfig(kubeconfig)
        self._address = urlsplit(self._config.server)
        self._context = self._config.ssl_context()
        self._own = threading.local()

    def get(self, resource: Resource, name: str, namespace: str) -> Object:
        """One object, or the list of all. Raises AssertionError with the server's words, as `Cell.kubectl` does."""
        path = resource.path(namespace, name or None)
        status, text = self._ask(path)
        if status != http.client.OK:
            raise AssertionError(f"GET {path}: {status} {text}")
        document: Object = json.loads(text)
        return document

    def _ask(self, path: str) -> tuple[int, str]:
        try:
            return self._once(path)
        except (OSError, http.client.HTTPException):  # closed by the server since the last time
            return self._once(path)

    def _once(self, path: str) -> tuple[int, str]:
        connection = self._connection()
        token = self._config.bearer()
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPSConnection:
        if not hasattr(self._own, "connection"):
            host, port = self._address.hostname or "", self._address.port
            self._own.connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=SECONDS)
        connection: http.client.HTTPSConnection = self._own.connection
        return connection


@functools.cache
def reader(kubeconfig: Path) -> Reader:
    return Reader(kubeconfig)
