"""Observe one cluster from where the CLI runs, as far as its addresses and the user's rights allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.bootstrap import cluster_observer
from controlplane.cli.connect import Connection
from controlplane.cli.lookup import read_as
from controlplane.domain.observation import ClusterObservation
from controlplane.ports import Object
from controlplane.services.access.way import plaintext
from controlplane.settings import OperatorSettings

KAFKA_SECONDS = 5.0
"""Brokers' addresses are often not reachable from outside: a person does not wait as long as an operator."""

Observe = Callable[[Object], Awaitable[ClusterObservation]]


def cli_settings() -> OperatorSettings:
    return OperatorSettings().model_copy(update={"kafka_timeout": KAFKA_SECONDS})


@asynccontextmanager
async def observer(connection: Connection) -> AsyncIterator[Observe]:
    """Each call observes anew. It raises KubeError, and CliError for a spec that this version cannot read."""
    async with cluster_observer(connection.kube, cli_settings()) as observe:

        async def look(obj: Object) -> ClusterObservation:
            return await observe(read_cluster(obj))

        yield look


def read_cluster(obj: Object) -> KafkaCluster:
    """Raises CliError that names the fields which cannot be read."""
    return read_as(KafkaCluster, obj)


def why_silent(observation: ClusterObservation) -> str:
    """Why nothing is known of Kafka itself, in one line."""
    if not any(node.is_broker and node.pod and node.pod.ready for node in observation.nodes):
        return "no broker's pod is ready, so none was asked"
    servers = ", ".join(plaintext(observation.nodes))
    return f"no broker answers from here within {KAFKA_SECONDS:g} s ({servers})"
