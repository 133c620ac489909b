"""A process that writes to a ledger: `python -m support.ledger_writer operator|command URL NUMBER COUNT BARRIER`.

It says "ready", waits until the file BARRIER is there, and writes. `operator` runs an outbox over COUNT clusters whose
operations it carries on by ten steps each, until all is marked as delivered; `command` records COUNT events as the CLI
does; `migrate` makes the tables and records one event.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from support.ledgers import T0, ended, event, operation

from controlplane.adapters.ledger.command_log import record_cli_event
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.api.operation import Operation, OperationStatus
from controlplane.domain.operation.progress import fully_recorded
from controlplane.services.operation.outbox import Outbox

TIMEOUT = 60.0
STEPS = 10


class Cluster:
    """An object in etcd: its status is what was last written."""

    def __init__(self, number: int) -> None:
        self.number, self.status = number, OperationStatus()

    @property
    def obj(self) -> dict[str, Any]:
        meta = {"name": f"c{self.number}", "namespace": "kafka", "uid": f"uid-{self.number}"}
        return {"kind": "KafkaCluster", "metadata": meta, "status": self.status.to_object()}

    def passing(self, outbox: Outbox, step: int) -> None:
        """One pass of the engine: mark what is confirmed, and be `step` steps further."""
        journal: Operation = operation(f"roll-{self.number}", entries=min(step, STEPS))
        known = {entry.step for entry in journal.journal}
        before = self.status.operation or self.status.last_operation
        kept = before.journal if before else ()
        delivered = {entry.step for entry in kept if entry.delivered}
        entries = tuple(e.model_copy(update={"delivered": e.step in delivered}) for e in journal.journal)
        assert delivered <= known
        now = journal.model_copy(update={"journal": entries, "recorded": before.recorded if before else "No"})
        if step > STEPS:
            decided = OperationStatus(last_operation=ended(now, at=T0 + 60))
        else:
            decided = OperationStatus(operation=now)
        self.status = outbox.deliver(self.obj, f"kafka/c{self.number}", decided)

    def done(self) -> bool:
        return self.status.last_operation is not None and fully_recorded(self.status.last_operation)


async def operate(url: str, count: int) -> None:
    outbox = Outbox(SqlLedger(url, timeout=TIMEOUT, migrate=True), retry=0.05)
    clusters, step = [Cluster(number) for number in range(count)], 0
    task = asyncio.create_task(outbox.run())
    while not all(cluster.done() for cluster in clusters):
        step += 1
        for cluster in clusters:
            cluster.passing(outbox, step)
        await asyncio.sleep(0.01)
    task.cancel()


def main() -> None:
    what, url, number, count, barrier = sys.argv[1:]
    print("ready", flush=True)
    while not Path(barrier).exists():
        time.sleep(0.01)
    if what == "operator":
        asyncio.run(operate(url, int(count)))
    elif what == "command":
        for one in range(int(count)):
            record_cli_event(url, actor=f"user-{number}", action="Try", subject=f"s{one}", timeout=TIMEOUT)
    else:
        SqlLedger(url, timeout=TIMEOUT, migrate=True).record_event(event(f"event-{number}"))


if __name__ == "__main__":
    main()
