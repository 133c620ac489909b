"""A real broker with an authorizer that denies by default and a SCRAM listener, beside the plain one of whoever may
do everything (ANONYMOUS is a super user here). For what concerns users; how a production cluster is let in is another
matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.cluster import CONTROLLER_PORT, HOST, PORT, LocalKafka

SCRAM_PORT = 9093


def secured(reauth_ms: int) -> dict[str, str]:
    """`reauth_ms` is connections.max.reauth.ms: how long a session may go on with a credential that is gone."""
    listeners = f"CLIENTS://{HOST}:{PORT},SCRAM://{HOST}:{SCRAM_PORT},CONTROLLER://{HOST}:{CONTROLLER_PORT}"
    return {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,SCRAM:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram."
        "ScramLoginModule required;",
        "listener.name.scram.connections.max.reauth.ms": str(reauth_ms),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def scram_servers(kafka: LocalKafka) -> str:
    return ",".join(f"{kafka.network}.{node}:{SCRAM_PORT}" for node in kafka.pods)


@contextmanager
def scram_cluster(root: Path, *, version: str = "4.2.0", reauth_ms: int = 10_000) -> Iterator[LocalKafka]:
    with LocalKafka(root) as kafka:
        kafka.start(version, nodes=1, config=secured(reauth_ms))
        yield kafka
