"""A roll on fakes whose ledger, a real PostgreSQL, goes away in its middle, with the operator killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from support.ledger_fixtures import postgres
from support.postgres import Postgres
from support.simulation import KEY, SETTINGS, DieAt, Namespace, around, created, service

from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Entry, Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.api import names
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.outbox import Outbox

__all__ = ["postgres"]

CLUSTER = ("kafkaclusters", "kafka", "cell")
StepKey = tuple[str, int, int]


@asynccontextmanager
async def operator(namespace: Namespace, url: str) -> AsyncIterator[tuple[Engine, Outbox]]:
    """A life of an operator: its engine, and its outbox running behind it."""
    outbox = Outbox(SqlLedger(url, timeout=5, migrate=True), retry=0.05)
    one = service(namespace, DieAt())
    surroundings = replace(around(one._kube, namespace.clock, SETTINGS), outbox=outbox)
    task = asyncio.create_task(outbox.run())
    try:
        yield Engine(one._kind, surroundings), outbox
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def passes(namespace: Namespace, engine: Engine, seen: set[StepKey], number: int) -> dict[str, Any]:
    status: dict[str, Any] = {}
    for _ in range(number):
        namespace.turn()
        await engine.reconcile(KEY)
        await asyncio.sleep(0)
        if CLUSTER in namespace.kube.objects:
            status = await namespace.status()
            for operation in filter(None, (status.get("operation"), status.get("lastOperation"))):
                seen |= {(operation["id"], e["step"], e["attempt"]) for e in operation.get("journal", [])}
    return status


def keys(entries: list[Entry]) -> list[StepKey]:
    return [(e.operation, e.detail["step"], e.detail["attempt"]) for e in entries if e.source == "step"]


async def read(url: str) -> list[Entry]:
    return await asyncio.to_thread(lambda: list(LedgerReader(url, timeout=60).stream(Wanted())))


async def test_a_roll_without_its_ledger(postgres: Postgres) -> None:
    url, seen = postgres.database(), set[StepKey]()
    namespace = await created()
    await namespace.change(version="4.3.1")
    async with operator(namespace, url) as (engine, _):
        await passes(namespace, engine, seen, 4)
    await asyncio.to_thread(postgres.stop)
    try:
        async with operator(namespace, url) as (engine, outbox):
            await passes(namespace, engine, seen, 8)
            async with asyncio.timeout(60):
                while not outbox.trouble:
                    await passes(namespace, engine, seen, 1)
        async with operator(namespace, url) as (engine, _):
            async with asyncio.timeout(60):
                while (await passes(namespace, engine, seen, 5)).get("lastOperation", {}).get("outcome") != "Succeeded":
                    pass
            status = await passes(namespace, engine, seen, 1)
            assert not any(entry["delivered"] for entry in status["lastOperation"]["journal"][-3:])
    finally:
        await asyncio.to_thread(postgres.start)
    async with operator(namespace, url) as (engine, _), asyncio.timeout(60):
        while (await passes(namespace, engine, seen, 1))["lastOperation"]["recorded"] != "Ended":
            await asyncio.sleep(0.01)
    entries = await read(url)
    assert len(seen) >= 3
    assert sorted(keys(entries)) == sorted(seen), "each entry that a status ever held, once"
    assert [e.outcome for e in entries if e.source == "end"] == ["Succeeded"]
    assert sum(e.source == "begin" for e in entries) == 1


@pytest.mark.parametrize("protected", [True, False])
async def test_an_object_that_is_deleted_in_the_middle(postgres: Postgres, *, protected: bool) -> None:
    """How its operation ended is in no status that anybody could read later: the ledger has it."""
    url, seen = postgres.database(), set[StepKey]()
    SqlLedger(url, timeout=60, migrate=True).remove_older_than(0)
    namespace = await created()
    await namespace.change(version="4.3.1")
    async with operator(namespace, url) as (engine, _), asyncio.timeout(120):
        while not seen:
            await passes(namespace, engine, seen, 1)
        meta = namespace.kube.objects[CLUSTER]["metadata"]
        if protected:
            meta |= {"finalizers": [names.CELL_FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            while CLUSTER in namespace.kube.objects:  # the fake takes it away with its last finalizer
                await passes(namespace, engine, seen, 1)
        namespace.kube.objects.pop(CLUSTER, None)
        await passes(namespace, engine, seen, 1)
        while not any(entry.source == "end" for entry in await read(url)):
            await asyncio.sleep(0.01)
    entries = await read(url)
    assert [e.outcome for e in entries if e.source == "end"] == ["Cancelled"]
    assert set(keys(entries)) >= seen
