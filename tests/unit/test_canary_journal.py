"""The journal: what is written is read back, a torn end is tolerated, damage is refused with its line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.adapters.journal import JournalWriter, account_journals
from controlplane.domain.canary import Ack, CanaryError, Consumed, Event, Failed, Payload, Sent
from controlplane.domain.journal import (
    Header,
    JournalError,
    JournalReader,
    ack_line,
    failed_line,
    note_line,
    read_line,
    sent_line,
    summary_line,
)

HEADER = Header(run="r", topic="t", start_offsets=(0, 4), bootstrap="127.0.0.1:9092", rate=1000.0)
EVENTS: list[Event] = [
    Sent("r", 1, 0, 10),
    Sent("r", 1, 1, 10),
    Ack("r", 1, 0, 10, 20, 4),
    Failed("r", 1, 1, 10, 30, 'said "no"\n'),
    Consumed("r", 1, 0, 4, 40),
]
LINES = [
    HEADER.line(),
    sent_line(1, 0, 2, 10),
    ack_line(Ack("r", 1, 0, 10, 20, 4)),
    failed_line(Failed("r", 1, 1, 10, 30, 'said "no"\n')),
    read_line(Consumed("r", 1, 0, 4, 40)),
    note_line(50, "broker gone"),
    summary_line({"lost": 0}),
]


def run_account(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The real process, as a user starts it."""
    command = [sys.executable, "-m", "controlplane.cli.canary", "account", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def write_run(path: Path, count: int = 200) -> None:
    """A run without trouble: two partitions, each acknowledged and read in full."""
    with JournalWriter(path) as journal:
        journal.write(HEADER.line())
        for sequence in range(count):
            for partition in (0, 1):
                at = sequence * 1_000_000
                journal.write(sent_line(partition, sequence, 1, at))
                journal.write(ack_line(Ack("r", partition, sequence, at, at + 2_000_000, sequence)))
                journal.write(read_line(Consumed("r", partition, sequence, sequence, at + 3_000_000)))


def test_every_line_comes_back_as_it_was_written() -> None:
    reader = JournalReader("j")
    assert list(reader.events(LINES)) == EVENTS
    assert (reader.header, reader.notes, reader.summary, reader.torn) == (HEADER, ["broker gone"], {"lost": 0}, 0)


@pytest.mark.parametrize("cut", range(1, len(LINES[4]) - 1))
def test_a_half_written_last_line_is_counted_and_passed_over(cut: int) -> None:
    reader = JournalReader("j")
    assert list(reader.events([*LINES[:4], LINES[4][:cut]])) == EVENTS[:-1]
    assert reader.torn == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "j:1: no canary journal"),
        (["{}\n"], "j:1: no canary journal"),
        (LINES[1:], "j:1: no canary journal"),
        (['{"kfleet_canary_journal": 2, "run": "r"}\n'], "j:1: journal version 2 is not known"),
        ([*LINES[:2], '["ack",1\n', LINES[2]], "j:3: not JSON"),
        ([*LINES[:2], '["ack",1\n'], "j:3: not JSON"),
        ([*LINES[:2], '["ack",1,2]\n'], "j:3: expected 5 whole numbers"),
        ([*LINES[:2], '["ack",1,2,3,4,"5"]\n'], "j:3: expected 5 whole numbers"),
        ([*LINES[:2], '["eaten",1]\n'], "j:3: unknown kind of record 'eaten'"),
        ([*LINES[:2], "17\n"], "j:3: neither a record nor the summary"),
    ],
)
def test_damage_is_refused_with_its_line(lines: list[str], message: str) -> None:
    with pytest.raises(JournalError) as caught:
        list(JournalReader("j").events(lines))
    assert str(caught.value).startswith(message)


def test_a_journal_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write_run(path, 1)
    before = path.read_bytes()
    with pytest.raises(CanaryError, match="exists already"):
        JournalWriter(path)
    assert path.read_bytes() == before


def test_a_journal_nothing_was_written_to_leaves_no_file(tmp_path: Path) -> None:
    JournalWriter(tmp_path / "j.jsonl").close()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told() -> None:
    with pytest.raises(CanaryError, match="cannot write journal /proc/kfleet"):
        JournalWriter(Path("/proc/kfleet/j.jsonl"))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "full"
    writer = JournalWriter(path, interval=60)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._file.fileno())
    os.close(full)
    writer.write("x" * 10)
    with pytest.raises(CanaryError, match="No space left on device"):
        writer.sync()


def test_journals_of_one_run_are_merged(tmp_path: Path) -> None:
    """A producer's journal and that of a reader elsewhere."""
    whole = tmp_path / "whole.jsonl"
    write_run(whole)
    lines = whole.read_text().splitlines(keepends=True)
    producer, reader = tmp_path / "producer.jsonl", tmp_path / "reader.jsonl"
    producer.write_text("".join(line for line in lines if not line.startswith('["read"')))
    reader.write_text("".join(line for line in lines if line.startswith(("{", '["read"'))))
    assert account_journals([producer, reader], warm_up_s=0)[0] == account_journals([whole], warm_up_s=0)[0]
    assert account_journals([producer], warm_up_s=0)[0].lost == 400


def test_the_command_passes_a_clean_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write_run(path)
    done = run_account(str(path), "-o", "json", "--strict", "--warm-up", "0")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["acknowledged"], figures["consumed"], figures["lost"], figures["duplicated"]) == (400, 400, 0, 0)


def test_planted_loss_in_a_journal_fails_the_command(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write_run(path)
    lines = path.read_text().splitlines(keepends=True)
    gone = ('["read",0,17,', '["read",0,18,', '["read",1,150,')
    path.write_text("".join(line for line in lines if not line.startswith(gone)))
    done = run_account(str(path), "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["lost"] == 3
    assert json.loads(done.stdout)["lost_ranges"] == [
        {"run": "r", "partition": 0, "first": 17, "last": 18},
        {"run": "r", "partition": 1, "first": 150, "last": 150},
    ]
    assert "lost: run r partition 0 sequences 17 to 18" in run_account(str(path)).stdout


def test_planted_duplicates_fail_the_command_when_strict(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write_run(path)
    with path.open("a") as file:
        file.write(read_line(Consumed("r", 0, 7, 200, 1)) + read_line(Consumed("r", 0, 8, 201, 1)))
    plain, strict = run_account(str(path), "-o", "json"), run_account(str(path), "-o", "json", "--strict")
    assert (plain.returncode, strict.returncode) == (0, 1)
    assert json.loads(strict.stdout)["duplicated"] == 2


def test_planted_reordering_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write_run(path)
    text = path.read_text()
    swapped = text.replace('["read",0,30,30,', "@").replace('["read",0,31,31,', '["read",0,30,31,')
    path.write_text(swapped.replace("@", '["read",0,31,30,'))
    done = run_account(str(path), "-o", "json")
    assert json.loads(done.stdout)["reordered"] == 1


def test_a_torn_journal_is_accounted_and_said(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write_run(path)
    path.write_text(path.read_text() + '["ack",0,200,')
    done = run_account(str(path), "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["torn"]) == (0, 1)
    assert "half-written" in done.stderr


@pytest.mark.parametrize("content", [None, "", "not a journal\n"])
def test_a_file_that_is_no_journal_gets_one_clear_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "j.jsonl"
    if content is not None:
        path.write_text(content)
    done = run_account(str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("kfleet-canary: ")
    assert str(path) in done.stderr


def test_payloads_of_strangers_are_not_ours() -> None:
    ours = Payload("r", 3, 14, 15)
    assert Payload.decode(ours.encode()) == ours
    assert [Payload.decode(value) for value in (b"", b"hello", b"a b c d", b"\xff 1 2 3")] == [None] * 4
