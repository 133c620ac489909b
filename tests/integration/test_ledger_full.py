"""The ledger's disk is full: one clear error, nothing half, and on it goes once there is room."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledger_fixtures import postgres
from support.ledgers import T0, ended, event, operation, record
from support.postgres import Postgres

from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import LedgerError, OperationRecord

__all__ = ["postgres"]

FILLER = "filler"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this user may not mount a file system: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave no room but what single pages need."""
    with (disk / FILLER).open("wb", buffering=0) as file:
        block = b"x" * 4096
        try:
            while True:
                file.write(block)
        except OSError:
            return


def until_full(ledger: SqlLedger) -> tuple[int, LedgerError]:
    """Records events of 10 KB until one is refused; how many were taken, and what the refusal said."""
    for number in range(10_000):
        try:
            ledger.record_event(event(f"big-{number}", detail={"words": f"{number}" * 5000}))
        except LedgerError as error:
            return number, error
    raise AssertionError("the disk is never full")


def until_full_of_operations(ledger: SqlLedger) -> tuple[OperationRecord, LedgerError]:
    """The first operation of 250 steps that is refused: it does not fit, although some of its steps would."""
    for number in range(100):
        big = record(ended(operation(f"big-{number}", entries=250, message="m" * 4000), at=T0 + 999))
        try:
            ledger.record_operation(big)
        except LedgerError as error:
            return big, error
    raise AssertionError("the disk is never full")


def check(url: str, ledger: SqlLedger, disk: Path) -> None:
    ledger.record_operation(record(operation("small", entries=2)))
    fill(disk)
    taken, refusal = until_full(ledger)
    assert "disk is full" in refusal.message
    assert "\n" not in refusal.message
    assert refusal.retriable
    big, refusal = until_full_of_operations(ledger)
    assert "disk is full" in refusal.message
    whole = {name: count for name, count in counts(url).items() if name != "event"}
    assert whole["step"] == 2 + 250 * whole.get("end", 0), "an operation and its steps, or nothing of it"
    assert counts(url)["event"] == taken

    (disk / FILLER).unlink()
    ledger.record_event(event(f"big-{taken}"))
    ledger.record_operation(big)
    now = counts(url)
    assert now["event"] == taken + 1
    assert now["step"] == whole["step"] + 250


def counts(url: str) -> Counter[str]:
    return Counter(entry.source for entry in LedgerReader(url, timeout=60).stream(Wanted()))


def test_sqlite(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/ledger.db"
    check(url, SqlLedger(url, timeout=30, migrate=True), small_disk)


def test_postgresql(postgres: Postgres, small_disk: Path) -> None:
    """The tables on the small disk, the server's own files elsewhere."""
    space = small_disk / "space"
    space.mkdir()
    if os.geteuid() == 0:
        os.chown(space, pwd.getpwnam("nobody").pw_uid, -1)
        for parent in small_disk.parents:  # pytest's folders are closed to others
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    postgres.sql(f"CREATE TABLESPACE small LOCATION '{space}'")
    url = postgres.database("TABLESPACE small")
    check(url, SqlLedger(url, timeout=30, migrate=True), small_disk)
    postgres.sql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
    postgres.sql("DROP TABLESPACE small")
