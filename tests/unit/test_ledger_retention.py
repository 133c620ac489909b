"""The sweep: in batches, to its end, and a ledger that is away does not end it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.ledgers import T0, ended, operation, record

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.ledger import writer
from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import LedgerError
from controlplane.services import retention
from controlplane.services.retention import Retention
from controlplane.settings import OperatorSettings

DAY = 86_400


@dataclass
class Noon:
    seconds: float

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Batches:
    """A ledger that removes so much at a time; an error stands for a call that fails."""

    answers: list[int | Exception]
    asked: list[float] = field(default_factory=list)

    def remove_older_than(self, seconds: float) -> int:
        self.asked.append(seconds)
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_sweep_goes_on_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    ledger = Batches([3, 3, 1])
    sweep = Retention(ledger, Noon(100 * DAY), days=10, interval=60)  # type: ignore[arg-type]
    assert await sweep.sweep() == 7
    assert ledger.asked == [90 * DAY] * 4


@pytest.mark.parametrize(
    "error", [LedgerError("gone"), ValueError("year -712 is out of range")], ids=["away", "defect"]
)
async def test_a_sweep_that_fails_is_made_later(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    ledger = Batches([error, error, 5])
    task = asyncio.create_task(Retention(ledger, Noon(DAY), days=1, interval=0.01).run())  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        while len(ledger.asked) < 4:
            assert not task.done(), "whatever the ledger says, the operator goes on"
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    traces = [line.exc_info is not None for line in caplog.records if line.name == retention.__name__]
    assert traces == [not isinstance(error, LedgerError)] * 2, "only what nobody expected has a traceback"


def test_no_setting_leads_out_of_the_calendar(tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path}/ledger.db", timeout=30, migrate=True)
    longest = OperatorSettings(ledger_retention_days=36_500)
    assert ledger.remove_older_than(SystemClock().now() - longest.ledger_retention_days * DAY) == 0
    for days in (36_501, 1_000_000, float("inf"), float("nan")):
        with pytest.raises(ValidationError, match="ledger_retention_days"):
            OperatorSettings(ledger_retention_days=days)


def test_the_ledgers_password_is_not_shown() -> None:
    url = "postgresql://kfleet:s3cret@db/ledger"
    settings = OperatorSettings(ledger_url=url)
    assert settings.ledger_url.get_secret_value() == url
    for shown in (repr(settings), str(settings), f"{settings.model_dump()}", settings.model_dump_json()):
        assert "s3cret" not in shown
    with pytest.raises(ValidationError) as refused:
        OperatorSettings(ledger_url=url, lease_duration=1)
    assert "s3cret" not in str(refused.value)


async def test_old_operations_leave_in_batches_and_open_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH", 10)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = SqlLedger(url, timeout=30, migrate=True)
    for number in range(35):
        ledger.record_operation(record(ended(operation(f"old-{number}", entries=3), at=T0 + 9)))
    ledger.record_operation(record(operation("open", entries=3)))
    ledger.record_operation(record(ended(operation("young", entries=3), at=T0 + 11 * DAY)))
    assert ledger.remove_older_than(T0 + DAY) == 10 * 4, "one call is one batch"
    assert await Retention(ledger, Noon(T0 + 12 * DAY), days=10, interval=60).sweep() == 25 * 4
    left = LedgerReader(url, timeout=30).operations(Wanted(), limit=100)
    assert {one.operation for one in left} == {"open", "young"}
