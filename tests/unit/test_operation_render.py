"""What people are shown of a plan and of its progress, word for word."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from controlplane.api.operation import (
    JournalEntry,
    Operation,
    OperationEnding,
    OperationIntent,
    OperationStep,
    PlanRef,
    StepCheck,
)
from controlplane.domain.operation.plan import Plan
from controlplane.domain.operation.render import (
    WIDTH,
    Tone,
    journal_line,
    operation_lines,
    plan_lines,
    summary,
    text,
)

AT = "2026-11-21T10:00:00Z"
STEPS = (
    OperationStep(
        id=1, verb="SetThrottle", target="brokers 1-3", why="half of what is spare", inverse="RemoveThrottle"
    ),
    OperationStep(
        id=2, verb="MoveReplica", target="orders-7", why="off node 4", risk="Disruptive", inverse="MoveReplicaBack"
    ),
    OperationStep(id=3, verb="DropReplica", target="orders-7", risk="Destructive"),
    OperationStep(id=4, verb="RemoveThrottle", target="brokers 1-3"),
)
PLAN = Plan("Rebalance", "Frozen", "node 4 holds nothing", STEPS, {"rate": "10Mi"}, ("MinIsr", "NoReassignment"))


def operation(**changes: Any) -> Operation:
    fields: dict[str, Any] = {
        "id": "rebalance-3-0123456789",
        "kind": "Rebalance",
        "mode": "Frozen",
        "plan_hash": PLAN.hash,
        "goal": PLAN.goal,
        "started_at": AT,
        "steps": STEPS,
        "step": STEPS[0],
        "gates": PLAN.gates,
    }
    return Operation(**(fields | changes))


def body(lines: str) -> str:
    return dedent(lines).strip("\n").replace("HASH", PLAN.hash[:19])


def test_a_plan() -> None:
    assert text(plan_lines(PLAN, notes=["at least 1 move (lower bound 1)"])) == body("""
        Rebalance: node 4 holds nothing
          Frozen: these steps or none; plan HASH
          stops for MinIsr, NoReassignment
          at least 1 move (lower bound 1)

        4 steps, 1 disruptive, 1 destructive:
          [ ]   1 SetThrottle brokers 1-3
                  half of what is spare
          [ ]   2 MoveReplica orders-7 (disruptive)
                  off node 4
          [ ]   3 DropReplica orders-7 (destructive)
          [ ]   4 RemoveThrottle brokers 1-3
    """)


def test_a_plan_that_is_foreseen_and_one_with_nothing_to_do() -> None:
    foreseen = Plan("Roll", "Replanned", "version 4.3.1", (OperationStep(id=1, verb="RestartNode", target="node 1"),))
    assert text(plan_lines(foreseen)).splitlines()[3] == "1 step foreseen:"
    assert text(plan_lines(Plan("Rebalance", "Frozen", "balance"))).endswith("Nothing is to be done.")


def test_a_step_that_waits() -> None:
    waits = STEPS[1].model_copy(
        update={"checks": (StepCheck(name="MinIsr", evidence="orders-7 has 1 of 2.", remedy="Start node 2."),)}
    )
    shown = operation(step=waits, approval="orders-x7k", message="orders-7 has 1 of 2.")
    assert text(operation_lines(shown)) == body("""
        rebalance-3-0123456789: node 4 holds nothing
          Frozen: these steps or none; plan HASH
          stops for MinIsr, NoReassignment
          approved by Approval orders-x7k
          since 2026-11-21T10:00:00Z
          orders-7 has 1 of 2.

        4 steps, 1 disruptive, 1 destructive:
          [x]   1 SetThrottle brokers 1-3
                  half of what is spare
          [!]   2 MoveReplica orders-7 (disruptive)
                  off node 4
                  MinIsr: orders-7 has 1 of 2. Start node 2.
          [ ]   3 DropReplica orders-7 (destructive)
          [ ]   4 RemoveThrottle brokers 1-3
          [x] done  [>] under way  [!] waiting  [ ] to come  [=] was done before  [<] undone  [k] not undone
    """)
    assert summary(shown) == "rebalance-3-0123456789: step 2 MoveReplica orders-7: waits for MinIsr"


def test_on_the_way_back() -> None:
    ending = OperationEnding(
        outcome="Failed", why=StepCheck(name="DiskFull", evidence="node 5 has no room."), turned_at=3
    )
    undoing = OperationStep(id=7, verb="MoveReplicaBack", target="orders-7", why="undoes step 2", risk="Disruptive")
    shown = operation(direction="Back", ending=ending, step=undoing, attempt=2, intent=OperationIntent(at=AT))
    assert text(operation_lines(shown)) == body("""
        rebalance-3-0123456789: node 4 holds nothing
          Frozen: these steps or none; plan HASH
          stops for MinIsr, NoReassignment
          since 2026-11-21T10:00:00Z
          turned back after step 3: DiskFull: node 5 has no room.

        4 steps, 1 disruptive, 1 destructive:
          [x]   1 SetThrottle brokers 1-3
                  half of what is spare
          [>]   2 MoveReplica orders-7 (disruptive)
                  off node 4
          [k]   3 DropReplica orders-7 (destructive)
          [ ]   4 RemoveThrottle brokers 1-3
          [x] done  [>] under way  [!] waiting  [ ] to come  [=] was done before  [<] undone  [k] not undone
    """)
    assert summary(shown) == "rebalance-3-0123456789: undoing, step 7 MoveReplicaBack orders-7 (attempt 2)"


def test_at_the_end() -> None:
    ended = operation(step=STEPS[3], already_done=("1",), outcome="Succeeded", ended_at=AT, message="4 steps done")
    marks = [line.text[2:5] for line in operation_lines(ended) if line.text.startswith("  [")][:4]
    assert marks == ["[=]", "[x]", "[x]", "[x]"]
    assert summary(ended) == "rebalance-3-0123456789: Succeeded: 4 steps done"
    tones = {line.tone for line in operation_lines(ended)}
    assert Tone.DONE in tones
    assert Tone.FAILED not in tones


def test_a_roll_shows_its_journal_and_what_it_is_at() -> None:
    journal = tuple(
        JournalEntry(step=number, verb="Stopping", target=str(number), outcome="Done", at=AT) for number in (1, 2)
    )
    roll = Operation(
        id="roll-2-a",
        kind="Roll",
        plan_hash="sha256:0",
        goal="version 4.3.1",
        started_at=AT,
        journal=journal,
        step=OperationStep(id=3, verb="Starting", target="1"),
    )
    assert text(operation_lines(roll)) == body("""
        roll-2-a: version 4.3.1
          Replanned: each step is planned from a new observation; plan sha256:0
          since 2026-11-21T10:00:00Z

          [x] 2026-11-21T10:00:00Z     1  Done         Stopping 1
          [x] 2026-11-21T10:00:00Z     2  Done         Stopping 2
          [>]   3 Starting 1
    """)


def test_steps_elsewhere_are_named_or_shown() -> None:
    away = operation(steps=(), plan_ref=PlanRef(config_maps=("run-plan-a", "run-plan-b"), steps=4))
    assert text(operation_lines(away)).endswith("its 4 steps lie in ConfigMap run-plan-a, run-plan-b")
    assert "DropReplica" in text(operation_lines(away, STEPS))


@pytest.mark.parametrize("at", [1, 500, 1000])
def test_of_a_long_plan_what_is_near_is_shown_and_the_rest_counted(at: int) -> None:
    steps = tuple(OperationStep(id=number, verb="Move", target=f"t-{number}") for number in range(1, 1001))
    away = PlanRef(config_maps=("a",), steps=1000)
    shown = text(operation_lines(operation(steps=(), plan_ref=away, step=steps[at - 1]), steps))
    assert f" {at} Move t-{at}" in shown
    assert len(shown.splitlines()) < 60
    assert ("before ([x]" in shown) == (at > 20)
    assert len(text(operation_lines(operation(steps=()), steps, every=True)).splitlines()) > 1000
    assert text(plan_lines(Plan("Toy", "Frozen", "g", steps))).endswith("... 960 more follow")


@pytest.mark.parametrize("width", [80, WIDTH, 120])
def test_nothing_is_wider_than_asked(width: int) -> None:
    wordy = " ".join(["word"] * 60)
    step = STEPS[1].model_copy(
        update={"why": wordy[:1000], "checks": (StepCheck(name="MinIsr", evidence=wordy, remedy=wordy),)}
    )
    steps = (STEPS[0], step, *STEPS[2:])
    entry = JournalEntry(step=1, verb="SetThrottle", outcome="Failed", at=AT, message=wordy)
    for shown in (
        operation(step=step, steps=steps, message=wordy),
        operation(mode="Replanned", steps=(), step=step, journal=(entry,)),
    ):
        lines = operation_lines(shown, notes=[wordy], width=width)
        assert max(len(line.text) for line in lines) <= width
        assert len(summary(shown, width=width)) <= width
    assert journal_line(entry).startswith(f"{AT}     1  Failed       SetThrottle: word")
