"""ports.KafkaAdmins: one set of connections for each cluster, made anew when its servers change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from controlplane.adapters.kafka.admin import KafkaPythonAdmin
from controlplane.adapters.kafka.connections import Connections
from controlplane.ports import KafkaAdmin

_log = logging.getLogger(__name__)


class KafkaPythonAdmins:
    """Each cluster's connections have one I/O thread; closing them may block and uses at most `threads` threads."""

    def __init__(self, *, threads: int, timeout: float, voter_caught_up_seconds: float) -> None:
        quiet_kafka_python()
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="kafka-close")
        self._timeout = timeout
        self._voter_caught_up_seconds = voter_caught_up_seconds
        self._open: dict[str, tuple[frozenset[str], KafkaPythonAdmin]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, cluster_key: str, bootstrap_servers: Sequence[str]) -> KafkaAdmin:
        """The same object for the same servers in any order; otherwise a new one, and the old one is closed.

        Must be called from the event loop. Raises ValueError without servers.
        """
        servers = frozenset(bootstrap_servers)
        known = self._open.get(cluster_key)
        if known is not None and known[0] == servers:
            return known[1]
        admin = KafkaPythonAdmin(
            Connections(sorted(servers), self._executor),
            timeout=self._timeout,
            voter_caught_up_seconds=self._voter_caught_up_seconds,
        )
        self._open[cluster_key] = (servers, admin)
        if known is not None:
            self._close_later(known[1])
        return admin

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
