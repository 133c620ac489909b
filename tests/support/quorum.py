"""Who leads a cluster's metadata quorum. A roll's wall time hangs on it: see `elections` in the rows of bench-roll."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from controlplane.adapters.kafka.admin import KafkaPythonAdmin
from controlplane.adapters.kafka.connections import Connections

TIMEOUT_SECONDS = 15.0


def quorum_leader(bootstrap: str) -> tuple[int, int]:
    """(node id of the active controller, its epoch). Raises KafkaError when no broker answers in time."""
    return asyncio.run(_ask(bootstrap.split(",")))


async def _ask(servers: list[str]) -> tuple[int, int]:
    with ThreadPoolExecutor(1) as pool:
        admin = KafkaPythonAdmin(Connections(servers, pool), timeout=TIMEOUT_SECONDS, voter_caught_up_seconds=2.0)
        try:
            _, quorum = await admin.observe()
        finally:
            await admin.close()
    assert quorum.leader is not None, "the controllers have no leader"
    return quorum.leader, quorum.epoch
