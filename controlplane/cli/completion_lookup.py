"""What completion asks the API server. No answer is an answer here: the Tab key has nobody to complain to.

Its caller has a second for an answer, which begins once this is loaded; loading HTTP alone may take that long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import controlplane.adapters.kubernetes.client  # noqa: F401 - `connect` would load it within that second
from controlplane.adapters.kubernetes.config import KubeConfigError
from controlplane.cli.connect import connect
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, TENANTS, USERS
from controlplane.cli.op_find import carriers
from controlplane.cli.options import Where
from controlplane.ports import KubeError, Resource


def clusters(parameters: Mapping[str, Any]) -> list[str]:
    """Names of the KafkaClusters that `parameters` (namespace, kubeconfig, context) reach; none if they reach none."""
    return _names(CLUSTERS, parameters)


def users(parameters: Mapping[str, Any]) -> list[str]:
    """Names of the KafkaUsers, likewise."""
    return _names(USERS, parameters)


def tenants(parameters: Mapping[str, Any]) -> list[str]:
    """Names of the KafkaTenants, likewise."""
    return _names(TENANTS, parameters)


def _names(resource: Resource, parameters: Mapping[str, Any]) -> list[str]:
    where = Where(parameters.get("namespace"), parameters.get("kubeconfig"), parameters.get("context"))

    async def ask() -> list[str]:
        async with connect(where) as connection:
            return [obj["metadata"]["name"] for obj in await connection.kube.list(resource, connection.namespace)]

    try:
        return asyncio.run(ask())
    except (KubeError, KubeConfigError):
        return []


def operations(parameters: Mapping[str, Any]) -> list[str]:
    """Ids of the operations in the statuses of those that carry some: under way, or the last one."""
    where = Where(parameters.get("namespace"), parameters.get("kubeconfig"), parameters.get("context"))

    async def ask() -> list[str]:
        async with connect(where) as connection:
            statuses = [obj.get("status") or {} for obj in await carriers(connection, connection.namespace)]
        found = [
            status[field]["id"] for field in ("operation", "lastOperation") for status in statuses if field in status
        ]
        return list(dict.fromkeys(found))

    try:
        return asyncio.run(ask())
    except (KubeError, KubeConfigError, CliError):
        return []
