"""The tests' own look at a canary's journal: whose copies are these?"""

from pathlib import Path

import pytest
from support.traffic import Traffic

from controlplane.domain.canary import NEW_EPOCH, Ack, Consumed
from controlplane.domain.journal import ack_line, note_line, read_line, summary_line


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    made = Traffic.__new__(Traffic)
    made.journal = tmp_path / "run.jsonl"
    return made


def test_copies_are_told_with_what_is_known_of_them(traffic: Traffic) -> None:
    lines = [ack_line(Ack("r", 2, number, 1, 2, number)) for number in range(3)]
    lines += [read_line(Consumed("r", 2, number, offset, 9)) for number, offset in ((0, 0), (1, 1), (2, 2), (1, 3))]
    traffic.journal.write_text("".join(lines))
    assert traffic.copies() == ['["ack",2,1,1,2,1]', '["read",2,1,1,9]', '["read",2,1,3,9]']
    assert traffic.new_epochs() == 0


def test_a_record_read_twice_at_one_offset_is_no_copy(traffic: Traffic) -> None:
    traffic.journal.write_text("".join([read_line(Consumed("r", 0, 0, 0, 9))] * 2))
    assert traffic.copies() == []


@pytest.mark.parametrize(
    ("end", "complete"),
    [(summary_line({"complete": True}), True), (summary_line({"complete": False}), False), ("", False)],
)
def test_a_log_that_was_not_read_to_its_end_is_no_loss_but_no_proof(
    traffic: Traffic, end: str, *, complete: bool
) -> None:
    traffic.journal.write_text(ack_line(Ack("r", 0, 0, 1, 2, 0)) + end)
    assert traffic.complete() is complete


def test_a_canary_that_never_began_is_no_proof(traffic: Traffic) -> None:
    assert not traffic.complete()


def test_a_new_epoch_is_seen_and_another_note_is_not(traffic: Traffic) -> None:
    traffic.journal.write_text(note_line(1, "connection refused") + note_line(2, NEW_EPOCH))
    assert traffic.new_epochs() == 1
