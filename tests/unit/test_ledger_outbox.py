"""The outbox on fakes: nothing is lost, nothing waits, nothing is marked that the ledger has not confirmed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from support.fake_ledger import FakeLedger
from support.ledgers import T0, approval, ended, operation

from controlplane.adapters.ledger.rows import Source, Wanted
from controlplane.api.operation import JOURNAL_KEPT, JOURNAL_LIMIT, Operation, OperationStatus
from controlplane.domain.operation.permit import JOURNAL_FULL, from_words
from controlplane.domain.operation.progress import fully_recorded, undelivered
from controlplane.ports import LedgerError, OperationRecord
from controlplane.services.operation import outbox as module
from controlplane.services.operation.outbox import Outbox

CELL = "kafka/orders"


class Cluster:
    """An object whose status is what was last written; `passing` is what the engine does with the outbox."""

    def __init__(self, name: str = "orders", **status: Operation | None) -> None:
        self.name, self.status = name, OperationStatus(**status)

    @property
    def obj(self) -> dict[str, Any]:
        meta = {"name": self.name, "namespace": "kafka", "uid": f"uid-{self.name}"}
        return {"kind": "KafkaCluster", "metadata": meta, "status": self.status.to_object()}

    def passing(self, outbox: Outbox, decided: OperationStatus | None = None) -> OperationStatus:
        self.status = outbox.deliver(self.obj, CELL, decided or self.status)
        return self.status

    def recorded(self) -> bool:
        found = [one for one in (self.status.operation, self.status.last_operation) if one]
        return all(fully_recorded(one) for one in found)


@asynccontextmanager
async def running(outbox: Outbox) -> Any:
    task = asyncio.create_task(outbox.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def sources(ledger: FakeLedger) -> list[str]:
    return [entry.source for entry in ledger.stream(Wanted())]


async def test_entries_are_delivered_and_then_marked() -> None:
    ledger, cluster = FakeLedger(), Cluster(operation=operation(entries=3))
    outbox = Outbox(ledger)
    async with running(outbox):
        cluster.passing(outbox)
        assert not outbox.idle(cluster.status)
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
    assert outbox.idle(cluster.status)
    assert sources(ledger) == [Source.BEGIN, *[Source.STEP] * 3]
    assert cluster.status.operation is not None
    assert cluster.status.operation.recorded == "Begun"

    calls = ledger.calls
    async with running(outbox):
        cluster.passing(outbox)
        await asyncio.sleep(0)
    assert ledger.calls == calls, "what is marked is not handed over again"


async def test_only_what_a_status_holds_is_delivered() -> None:
    """A pass decides an entry and its write fails; the next pass decides another one. Only that one was ever true."""
    ledger, cluster = FakeLedger(), Cluster(operation=operation(entries=1))
    outbox = Outbox(ledger)
    async with running(outbox):
        outbox.deliver(cluster.obj, CELL, OperationStatus(operation=operation(entries=2)))
        await until(lambda: ledger.calls)
        assert sources(ledger) == [Source.BEGIN, Source.STEP]
        cluster.status = OperationStatus(operation=operation(entries=2))
        cluster.passing(outbox)
        await until(lambda: sources(ledger) == [Source.BEGIN, Source.STEP, Source.STEP])


async def test_what_is_not_confirmed_is_not_marked() -> None:
    ledger, cluster = FakeLedger(down=LedgerError("gone")), Cluster(operation=operation(entries=3))
    outbox = Outbox(ledger, retry=0.01)
    async with running(outbox):
        cluster.passing(outbox)
        await until(lambda: outbox.trouble)
        after = cluster.passing(outbox)
        assert after.operation is not None
        assert len(undelivered(after.operation)) == 3
        assert outbox.idle(after), "nobody needs to look every second while the ledger is away"
        ledger.down = None
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
    assert outbox.trouble == ""
    assert len(sources(ledger)) == 4


async def test_a_new_process_delivers_what_the_old_one_did_not() -> None:
    ledger, cluster = FakeLedger(), Cluster(operation=operation(entries=3))
    first = Outbox(ledger)
    async with running(first):
        cluster.passing(first)
        await until(lambda: ledger.calls)  # delivered, and killed before it was marked
    second = Outbox(ledger)
    async with running(second):
        await until(lambda: (cluster.passing(second), cluster.recorded())[1])
    assert ledger.calls == 2
    assert sources(ledger) == [Source.BEGIN, *[Source.STEP] * 3]


async def test_the_end_and_what_came_before_it() -> None:
    """The ledger is away for a whole operation and the next one: both are there afterwards, once."""
    ledger, cluster = FakeLedger(down=LedgerError("gone")), Cluster(operation=operation("a", entries=2))
    outbox = Outbox(ledger, retry=0.01)
    async with running(outbox):
        cluster.passing(outbox)
        over = ended(operation("a", entries=4), at=T0 + 9)
        cluster.passing(outbox, OperationStatus(last_operation=over))
        cluster.passing(outbox, OperationStatus(last_operation=over, operation=operation("b", entries=1)))
        cluster.passing(outbox, OperationStatus(last_operation=ended(operation("b", entries=2), at=T0 + 19)))
        cluster.passing(outbox)
        ledger.down = None
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
    entries = list(ledger.stream(Wanted()))
    assert sum(e.operation == "a" for e in entries) == 1 + 4 + 1
    assert sum(e.operation == "b" for e in entries) == 1 + 2 + 1
    assert cluster.status.last_operation is not None
    assert cluster.status.last_operation.recorded == "Ended"


async def test_an_object_that_is_gone_is_still_delivered() -> None:
    ledger, cluster = FakeLedger(down=LedgerError("gone")), Cluster(operation=operation(entries=2))
    outbox = Outbox(ledger, retry=0.01)
    async with running(outbox):
        cluster.passing(outbox)
        await until(lambda: outbox.trouble)
        ledger.down = None
        await until(lambda: len(sources(ledger)) == 3)


async def test_without_a_ledger_everything_counts_as_taken() -> None:
    outbox, cluster = Outbox(None), Cluster(operation=operation(entries=100))
    cluster.passing(outbox)
    assert cluster.recorded()
    assert outbox.idle(cluster.status)
    assert cluster.status.operation is not None
    assert len(cluster.status.operation.journal) == JOURNAL_KEPT
    outbox.record_approval(approval())
    await asyncio.wait_for(outbox.run(), 10)  # nothing to do: over at once


async def test_the_journal_is_trimmed_only_of_what_was_taken() -> None:
    ledger, cluster = FakeLedger(), Cluster(operation=operation(entries=100))
    outbox = Outbox(ledger)
    async with running(outbox):
        cluster.passing(outbox)
        assert cluster.status.operation is not None
        assert len(cluster.status.operation.journal) == 100
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
    assert len(cluster.status.operation.journal) == JOURNAL_KEPT
    assert len(ledger.steps) == 100


async def test_one_that_is_refused_for_good_keeps_nobody_else_waiting(caplog: pytest.LogCaptureFixture) -> None:
    class Choosy(FakeLedger):
        def record_operation(self, record: OperationRecord) -> None:
            if record.uid == "uid-bad":
                self.refusals = getattr(self, "refusals", 0) + 1
                raise LedgerError("no such thing", retriable=False)
            if record.uid == "uid-broken":
                raise RuntimeError("a defect")
            super().record_operation(record)

    ledger = Choosy()
    outbox = Outbox(ledger, retry=0.01)
    bad, broken, good = (Cluster(name, operation=operation(entries=1)) for name in ("bad", "broken", "good"))
    async with running(outbox):

        def settled() -> bool:
            for cluster in (bad, broken, good):
                cluster.passing(outbox)
            return bad.recorded() and good.recorded() and outbox.idle(broken.status)

        await until(settled)
        for _ in range(20):
            settled()
            await asyncio.sleep(0.005)
    assert ledger.refusals == 1, "asked again only when there is something new"
    assert bad.recorded(), "waiting for a ledger that will never take it helps nobody"
    assert not broken.recorded(), "what only met a defect may be taken by the next process"
    assert outbox.idle(bad.status)
    assert outbox.idle(broken.status)
    assert sum("is not recorded" in line.getMessage() for line in caplog.records) == 2


async def test_what_is_refused_for_good_holds_no_operation(caplog: pytest.LogCaptureFixture) -> None:
    class Never(FakeLedger):
        def record_operation(self, record: OperationRecord) -> None:
            raise LedgerError(f"{record.uid} does not fit", retriable=False)

    outbox, cluster = Outbox(Never()), Cluster(operation=operation(entries=JOURNAL_LIMIT))
    assert cluster.status.operation is not None
    assert [hold.name for hold in from_words(cluster.status.operation, {}, deleting=False).holds] == [JOURNAL_FULL]
    async with running(outbox):
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
    assert not from_words(cluster.status.operation, {}, deleting=False).holds
    assert any("is not recorded: uid-orders does not fit" in line.getMessage() for line in caplog.records)


async def test_no_pass_waits_for_the_ledger_and_only_one_call_runs() -> None:
    release, calling = threading.Event(), threading.Semaphore(0)

    class Slow(FakeLedger):
        def record_operation(self, record: OperationRecord) -> None:
            calling.release()
            assert release.wait(60)
            super().record_operation(record)

    ledger = Slow()
    outbox = Outbox(ledger)
    clusters = [Cluster(f"c{n}", operation=operation(entries=1)) for n in range(10)]
    async with running(outbox):
        for _ in range(5):
            for cluster in clusters:
                cluster.passing(outbox)
        await asyncio.to_thread(calling.acquire)
        for cluster in clusters:
            cluster.passing(outbox)
        assert not calling.acquire(blocking=False)
        release.set()
        await until(lambda: all((cluster.passing(outbox), cluster.recorded())[1] for cluster in clusters))
    assert ledger.calls == 10, "each once, although it was offered again and again"


async def test_memory_is_bounded_and_nothing_is_lost_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    ledger = FakeLedger(down=LedgerError("gone"))
    outbox = Outbox(ledger, retry=0.01)
    clusters = [Cluster(f"c{n}", operation=operation(entries=1)) for n in range(10)]
    for cluster in clusters:
        cluster.passing(outbox)
    for n in range(10):
        outbox.record_approval(approval(f"approval-{n}"))
    ledger.down = None
    async with running(outbox):
        await until(lambda: ledger.calls == 6)
        await until(lambda: all((cluster.passing(outbox), cluster.recorded())[1] for cluster in clusters))
    assert len(ledger.operations) == 10
    assert len(ledger.approvals) == 3


async def test_approvals_are_sent_once(caplog: pytest.LogCaptureFixture) -> None:
    ledger = FakeLedger(down=LedgerError("gone"))
    outbox = Outbox(ledger, retry=0.01)
    async with running(outbox):
        outbox.record_approval(approval())
        outbox.record_approval(approval())
        await until(lambda: outbox.trouble)
        ledger.down = None
        await until(lambda: ledger.approvals)
        outbox.record_approval(approval())
        outbox.record_approval(approval("approval-2"))
        await until(lambda: len(ledger.approvals) == 2)
    assert ledger.calls == 2
    assert sum("trying again" in line.getMessage() for line in caplog.records) == 1, "said once, not at each attempt"


async def test_cancelled_and_resumed_under_its_id() -> None:
    ledger = FakeLedger()
    outbox, cluster = Outbox(ledger), Cluster()
    first = ended(operation(entries=2), at=T0 + 9, outcome="Cancelled")
    async with running(outbox):
        cluster.passing(outbox, OperationStatus(last_operation=first))
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
        again = operation(entries=2, started=T0 + 60)
        cluster.passing(outbox, cluster.status.model_copy(update={"operation": again}))
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
    assert sources(ledger) == ["begin", "step", "step", "end", "begin", "step", "step"]


async def test_an_object_that_vanishes_ends_what_it_had_under_way() -> None:
    ledger = FakeLedger()
    outbox, cluster, other = Outbox(ledger), Cluster(operation=operation(entries=2)), Cluster("other")
    async with running(outbox):
        cluster.passing(outbox)
        await until(lambda: (cluster.passing(outbox), cluster.recorded())[1])
        other.passing(outbox, OperationStatus(last_operation=ended(operation("b"), at=T0 + 9)))
        await until(lambda: (other.passing(outbox), other.recorded())[1])
        for name in ("orders", "other", "never-seen"):
            outbox.gone(f"KafkaCluster kafka/{name}", now=T0 + 50)
        await until(lambda: sources(ledger).count(Source.END) == 2)
    (end,) = (e for e in ledger.stream(Wanted(operation="roll-3-ab")) if e.source is Source.END)
    assert (end.outcome, end.message) == ("Cancelled", "KafkaCluster kafka/orders was deleted.")
    (end,) = (e for e in ledger.stream(Wanted(operation="b")) if e.source is Source.END)
    assert end.outcome == "Succeeded"
