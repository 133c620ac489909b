"""The ledger goes away in the middle of operations: stopped, killed, frozen. Nothing waits, is lost or is doubled."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest
from support.ledger_fixtures import postgres
from support.ledger_writer import STEPS, Cluster
from support.ledgers import event
from support.postgres import Postgres

from controlplane.adapters.ledger.command_log import record_cli_event
from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import LedgerError
from controlplane.services.operation.outbox import Outbox

__all__ = ["postgres"]

CLUSTERS = 5
PASS_SECONDS = 15.0
"""A pass never waits for the ledger, whose deadline is longer than this; a busy machine may stand still meanwhile."""
LEDGER_SECONDS = 20.0


class Operator:
    """Passes over the clusters one after the other; its outbox delivers behind them."""

    def __init__(self, url: str, clusters: list[Cluster]) -> None:
        self.outbox = Outbox(SqlLedger(url, timeout=LEDGER_SECONDS, migrate=True), retry=0.1)
        self.clusters, self.longest = clusters, 0.0
        self.task = asyncio.create_task(self.outbox.run())

    async def passes(self, step: int) -> None:
        for cluster in self.clusters:
            begun = time.monotonic()
            cluster.passing(self.outbox, step)
            self.longest = max(self.longest, time.monotonic() - begun)
            await asyncio.sleep(0.01)

    async def until_delivered(self) -> None:
        async with asyncio.timeout(120):
            while not all(cluster.done() for cluster in self.clusters):
                await self.passes(STEPS + 1)

    async def end(self) -> None:
        """As a crash: what it remembered is gone."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
async def test_gone_in_the_middle(postgres: Postgres, how: str) -> None:
    url = postgres.database()
    clusters = [Cluster(number) for number in range(CLUSTERS)]
    operator = Operator(url, clusters)
    for step in range(1, 4):
        await operator.passes(step)
    async with asyncio.timeout(60):
        while not any(entry.delivered for cluster in clusters for entry in cluster.status.operation.journal):  # type: ignore[union-attr]
            await operator.passes(3)

    away = {"stopped": postgres.stop, "killed": postgres.kill, "frozen": postgres.freeze}
    back = {"stopped": postgres.start, "killed": postgres.start, "frozen": postgres.thaw}
    await asyncio.to_thread(away[how])
    try:
        async with asyncio.timeout(120):
            while not operator.outbox.trouble:
                await operator.passes(5)
        assert "\n" not in operator.outbox.trouble
        assert postgres.password not in operator.outbox.trouble
        with pytest.raises(LedgerError, match="nothing was done"):
            await asyncio.to_thread(record_cli_event, url, actor="a", action="b", subject="c", timeout=2)
        await operator.end()
        second = Operator(url, clusters)  # the operator dies, too, while the ledger is away
        await second.passes(7)
        await second.passes(STEPS + 1)
        assert not any(cluster.done() for cluster in clusters)
    finally:
        await asyncio.to_thread(back[how])
    await second.until_delivered()
    await second.end()
    assert max(operator.longest, second.longest) < PASS_SECONDS

    entries = await asyncio.to_thread(lambda: list(LedgerReader(url, timeout=60).stream(Wanted())))
    assert Counter(entry.source for entry in entries) == {"begin": CLUSTERS, "step": CLUSTERS * STEPS, "end": CLUSTERS}


def test_a_call_ends_within_its_deadline(postgres: Postgres) -> None:
    """Whatever the server does: on a connection that stands, and on a new one."""
    url = postgres.database()
    ledger = SqlLedger(url, timeout=2, migrate=True)
    ledger.record_event(event())
    postgres.freeze()
    try:
        for one in (ledger, SqlLedger(url, timeout=2)):
            begun = time.monotonic()
            with pytest.raises(LedgerError) as refused:
                one.record_event(event("event-2"))
            assert time.monotonic() - begun < 15
            assert refused.value.retriable
    finally:
        postgres.thaw()
    ledger.record_event(event("event-2"))
    assert len(list(LedgerReader(url, timeout=60).stream(Wanted()))) == 2


def test_a_connection_that_died_while_it_rested_is_not_noticed(postgres: Postgres) -> None:
    ledger = SqlLedger(postgres.database(), timeout=30, migrate=True)
    ledger.record_event(event())
    postgres.stop()
    postgres.start()
    ledger.record_event(event("event-2"))
