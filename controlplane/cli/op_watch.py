"""Following one operation to its end: what is said on the way, and with which exit code it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from controlplane.api.conditions import BLOCKED, READY, find_condition
from controlplane.api.operation import JournalEntry, Operation, OperationStatus, Outcome
from controlplane.cli.connect import Connection
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.op_find import AWAITING, Carried, carried, is_cancelled, resource_of, same
from controlplane.domain.operation.render import journal_line, summary
from controlplane.ports import Object
from controlplane.sandbox.progress import Progress

EXIT_CODES: dict[Outcome, ExitCode] = {
    "Succeeded": ExitCode.OK,
    "Failed": ExitCode.FAILED,
    "RolledBack": ExitCode.FAILED,
    "Superseded": ExitCode.FAILED,
    "Cancelled": ExitCode.FAILED,
    "Denied": ExitCode.DENIED,
}
BEAT_SECONDS = 1.0
SHOWN_EVIDENCE = 200

Say = Callable[[str], None]


def exit_code(one: Carried) -> ExitCode:
    """Of an operation that has ended, or of one that is still under way when the time is up."""
    outcome = one.operation.outcome
    if outcome is not None:
        return EXIT_CODES[outcome]
    return ExitCode.WAITING if one.state == AWAITING else ExitCode.UNHEALTHY


async def follow(connection: Connection, one: Carried) -> AsyncIterator[Carried]:
    """The operation as it is now and at every change of its object, until it has ended.

    Raises CliError when its object is deleted or has gone on to other operations.
    """
    uid, identity = one.obj["metadata"]["uid"], one.operation.id
    events = connection.kube.watch(resource_of(one), one.namespace, fields=f"metadata.name={one.name}")
    seen = False
    async for event in events:
        if event.type == "SYNCED":
            if not seen:
                raise CliError(f"{one.subject} is gone, and {identity} with it")
            continue
        seen = True
        if event.type == "DELETED" and event.object["metadata"]["uid"] == uid:
            raise CliError(f"{one.subject} was deleted, and {identity} with it")
        if event.object["metadata"]["uid"] != uid:
            raise CliError(f"{one.subject} was deleted and made anew; {identity} is gone")
        now = same(event.object, identity)
        if now is None:
            raise CliError(f"{one.subject} has gone on from {identity}; `kfleet op list` shows where to")
        yield now
        if not now.under_way:
            return


async def watch(
    connection: Connection,
    one: Carried,
    *,
    seconds: float | None,
    progress: Progress,
) -> Carried:
    """Follow and tell; the operation as it ended, or as it stood when the time was up."""
    teller = Teller(progress.say)
    latest = one
    begin = time.monotonic()

    async def tell() -> None:
        nonlocal latest
        async for now in follow(connection, one):
            latest = now
            teller.tell(now)

    async def beat() -> None:
        while True:
            progress.beat(f"{time.monotonic() - begin:5.0f} s  {summary(latest.operation)}")
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        async with asyncio.timeout(seconds):
            await tell()
    except TimeoutError:
        progress.say(f"{latest.operation.id} has not ended within {seconds:g} s")
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    return latest


async def begun_again(connection: Connection, one: Carried, *, seconds: float | None) -> Carried | None:
    """Wait for what the object of a resumed operation does next (it may have ended by the time it is seen).

    None when nothing was left to do. Raises CliError when the time is up or the object is deleted.
    """
    events = connection.kube.watch(resource_of(one), one.namespace, fields=f"metadata.name={one.name}")
    try:
        async with asyncio.timeout(seconds):
            async for event in events:
                if event.type == "DELETED":
                    break
                if event.type == "SYNCED":
                    continue
                for now in carried(event.object):
                    if now.under_way or _when(now) != _when(one):
                        return now
                if _is_content(event.object):
                    return None
    except TimeoutError:
        raise CliError(f"{one.subject} was not taken up within {seconds:g} s", ExitCode.UNHEALTHY) from None
    raise CliError(f"{one.subject} was deleted")


def _when(one: Carried) -> tuple[str, str | None]:
    return one.operation.started_at, one.operation.ended_at


def _is_content(obj: Object) -> bool:
    """Ready at the present generation, and no word of anybody in its way."""
    status = OperationStatus.model_validate({"conditions": (obj.get("status") or {}).get("conditions", [])})
    ready, blocked = find_condition(status.conditions, READY), find_condition(status.conditions, BLOCKED)
    return (
        ready is not None
        and ready.status == "True"
        and ready.observed_generation == obj["metadata"]["generation"]
        and (blocked is None or blocked.status != "True")
    )


@dataclass
class Teller:
    """One line for each thing that changed between two looks: outcomes, the step, what it waits for, the end."""

    say: Say
    _step: tuple[int, str, str] | None = None
    _told: set[tuple[int, int]] = field(default_factory=set)
    _checks: tuple[str, ...] = ()
    _cancelled: bool = False
    _first: bool = True

    def tell(self, now: Carried) -> None:
        operation = now.operation
        if self._first:
            self.say(f"{operation.id}: {operation.goal} ({now.subject})")
        self._outcomes(operation)
        if is_cancelled(now) and not self._cancelled:
            self._cancelled = True
            if now.under_way:
                self.say("it was cancelled: what was begun is finished or undone")
        if now.under_way:
            self._at(operation)
        else:
            self.say(summary(operation, width=10_000))
        self._first = False

    def _outcomes(self, operation: Operation) -> None:
        """New entries of the journal; at the first look only the last one, for where it stands."""
        fresh = [entry for entry in operation.journal if _key(entry) not in self._told]
        self._told |= {_key(entry) for entry in fresh}
        for entry in fresh[-1:] if self._first else fresh:
            self.say(f"  {journal_line(entry)}")

    def _at(self, operation: Operation) -> None:
        step = operation.step
        if step is None:
            return
        here = (step.id, step.verb, step.target)
        checks = tuple(check.name for check in step.checks)
        if here != self._step:
            back = "undoing, " if operation.direction == "Back" else ""
            target = f" {step.target}" if step.target else ""
            why = f" ({step.why})" if step.why else ""
            self.say(f"  {back}step {step.id}: {step.verb}{target}{why}")
        if step.checks and (here != self._step or checks != self._checks):
            for check in step.checks:
                self.say(f"    waits: {check.name}: {_cut(f'{check.evidence} {check.remedy}')}")
        self._step, self._checks = here, checks


def _key(entry: JournalEntry) -> tuple[int, int]:
    return entry.step, entry.attempt


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_EVIDENCE else flat[: SHOWN_EVIDENCE - 3] + "..."
