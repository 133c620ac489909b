"""ports.KafkaAdmins: one set of connections for each cluster, made anew when its servers or our certificate change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from controlplane.adapters.kafka.admin import KafkaPythonAdmin
from controlplane.adapters.kafka.connections import Connections
from controlplane.adapters.tls import context
from controlplane.ports import ClientTls, KafkaAdmin, KafkaUnreachableError

_log = logging.getLogger(__name__)
_Way = tuple[frozenset[str], str]
"""Servers, and the generation of the certificate that they are shown."""


class KafkaPythonAdmins:
    """Each cluster's connections have one I/O thread; closing them may block and uses at most `threads` threads."""

    def __init__(self, *, threads: int, timeout: float, voter_caught_up_seconds: float) -> None:
        quiet_kafka_python()
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="kafka-close")
        self._timeout = timeout
        self._voter_caught_up_seconds = voter_caught_up_seconds
        self._open: dict[str, tuple[_Way, KafkaPythonAdmin]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, cluster_key: str, bootstrap_servers: Sequence[str], tls: ClientTls | None = None) -> KafkaAdmin:
        """The same object for the same servers in any order and the same certificate; otherwise a new one, and the old
        one is closed.

        Must be called from the event loop. Raises ValueError without servers, KafkaUnreachableError for a certificate
        that cannot be used.
        """
        way = (frozenset(bootstrap_servers), tls.generation if tls is not None else "")
        known = self._open.get(cluster_key)
        if known is not None and known[0] == way:
            return known[1]
        admin = self._admin(bootstrap_servers, tls)
        self._open[cluster_key] = (way, admin)
        if known is not None:
            self._close_later(known[1])
        return admin

    async def reload(self, node: int, server: str, tls: ClientTls) -> None:
        admin = self._admin([server], tls)
        try:
            await admin.reload(node)
        finally:
            await admin.close()

    def _admin(self, servers: Sequence[str], tls: ClientTls | None) -> KafkaPythonAdmin:
        try:
            shown = context(tls) if tls is not None else None
        except (ssl.SSLError, ValueError) as error:
            raise KafkaUnreachableError(
                f"the operator's certificate or what it trusts cannot be used: {error}"
            ) from None
        return KafkaPythonAdmin(
            Connections(sorted(set(servers)), self._executor, shown),
            timeout=self._timeout,
            voter_caught_up_seconds=self._voter_caught_up_seconds,
        )

    async def forget(self, cluster_key: str) -> None:
        known = self._open.pop(cluster_key, None)
        if known is not None:
            await known[1].close()

    async def close(self) -> None:
        """Everything, the threads too."""
        for key in tuple(self._open):
            await self.forget(key)
        await asyncio.gather(*self._closing)
        self._executor.shutdown()

    def _close_later(self, admin: KafkaPythonAdmin) -> None:
        task = asyncio.get_running_loop().create_task(admin.close())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("connections were not closed cleanly: %s", error)


def quiet_kafka_python() -> None:
    """kafka-python logs each refused connection up to four times; our errors say the same once, to whoever asked.

    A level that someone set on its logger stays.
    """
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
