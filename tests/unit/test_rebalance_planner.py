"""The plan of a rebalance comes from a process of its own, and so do its failures."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from support.tenants import START, cell_of

from controlplane.adapters.solver.planner import ProcessPlanner
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import Assignment, Broker, Drain, Infeasible, Partition
from controlplane.ports import PlanningError

BROKERS = tuple(Broker(number, "abc"[number % 3]) for number in range(1, 5))
ASSIGNMENT = Assignment.of(Partition("t", number, (1, 2, 4), size=10) for number in range(4))


async def test_it_plans() -> None:
    found = await ProcessPlanner(timeout=60).propose(ASSIGNMENT, BROKERS, Drain(frozenset({4})))
    assert isinstance(found, Proposal)
    assert {tuple(sorted(move.after)) for move in found.moves} == {(1, 2, 3)}
    assert (found.replicas_moved, found.bytes_moved) == (4, 40)


async def test_what_cannot_be_is_an_answer_too() -> None:
    found = await ProcessPlanner(timeout=60).propose(ASSIGNMENT, BROKERS, Drain(frozenset({3, 4})))
    assert isinstance(found, Infeasible)


async def test_it_plans_tenants_as_the_operator_itself_would() -> None:
    cell = cell_of(3, 4)
    for number in range(4):
        cell.add(f"t{number}", at=START + number)
    cell.topics["t1.orders"] = [(0, 1, 2)]
    found = await ProcessPlanner(timeout=60).plan_cell(cell.directory, cell.view(), cell.now)
    assert found == cell.plan()
    assert found["t1"].create is not None


def pretend(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> None:
    """Another program in the place of Python."""
    program = directory / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


async def test_a_process_that_ends_without_an_answer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, "echo 'MemoryError: no room' >&2; exit 1")
    with pytest.raises(PlanningError, match="ended without an answer: MemoryError: no room"):
        await ProcessPlanner(timeout=60).propose(ASSIGNMENT, BROKERS, Drain(frozenset({4})))


async def test_a_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, "exec sleep 60")
    began = time.monotonic()
    with pytest.raises(PlanningError, match=r"within 0\.2 s"):
        await ProcessPlanner(timeout=0.2).propose(ASSIGNMENT, BROKERS, Drain(frozenset({4})))
    assert time.monotonic() - began < 30
