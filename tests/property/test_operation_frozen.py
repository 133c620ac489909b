"""A frozen operation on a model world, killed anywhere: it ends where it would have ended, does nothing twice, and
undoes exactly what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.api.operation import Operation
from controlplane.domain.check import Check
from controlplane.domain.operation.frozen import FrozenSteps, Move, Situation, advance, doing
from controlplane.domain.operation.permit import CELL_LOCKED, FREE, PAUSED, Permit
from controlplane.domain.operation.plan import Plan, frozen_operation
from controlplane.domain.operation.position import Fate, fates, undo_id
from controlplane.domain.operation.verb import Doing, Done, Failed, Look, Pending, Traits, UnderWay, step_of

PASSES = 400
TRAITS = {
    "Move": Traits(risk="Disruptive", inverse="MoveBack", attempts=3),
    "MoveBack": Traits(risk="Disruptive"),
    "Drop": Traits(risk="Destructive"),
    "Look": Traits(),
}
LOCKED = Permit((Check(CELL_LOCKED, ok=False, evidence="taken"),))
PAUSE = Permit((PAUSED,))
CANCEL = Permit((Check("Cancelled", ok=False, evidence="no more"),), stop="Cancelled")


@dataclass(frozen=True)
class Shape:
    """One step: its verb, how many attempts fail, how long each takes, whether it was done by somebody else before."""

    verb: str
    fails: int = 0
    takes: int = 0
    foreign: bool = False
    undo_fails: int = 0


shapes = st.builds(
    Shape,
    verb=st.sampled_from(("Move", "Move", "Move", "Drop", "Look")),
    fails=st.sampled_from((0, 0, 0, 0, 1, 2, 3)),
    takes=st.integers(0, 2),
    foreign=st.sampled_from((False, False, False, True)),
    undo_fails=st.integers(0, 2),
)
scripts = st.lists(shapes, max_size=7)
kills = st.lists(st.sampled_from(("", "", "before the write", "before the act", "after the act")), max_size=60)


@dataclass
class World:
    """What the verbs do and see. `harms` is what must not happen."""

    script: Sequence[Shape]
    acts: dict[int, int] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    effects: set[int] = field(default_factory=set)
    undos: dict[int, int] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    harms: list[str] = field(default_factory=list)

    def observe(self, here: Doing) -> Look:
        number = self._number(here)
        shape = self.script[number - 1]
        if here.step.id > len(self.script):
            if number not in self.effects:
                return Done()
            failed = self.undos.get(number, 0) >= here.attempt
            return Failed(Check("UndoFailed", ok=False)) if failed else Pending()
        if self.acts.get(number, 0) < here.attempt:
            return Done() if shape.foreign else Pending(uid="u", resource_version="1")
        if self.left[number] > 0:
            return UnderWay()
        if here.attempt <= shape.fails:
            return Failed(Check("Stumbled", ok=False))
        return Done()

    def act(self, here: Doing) -> None:
        number = self._number(here)
        shape = self.script[number - 1]
        if here.step.id > len(self.script):
            self.undos[number] = self.undos.get(number, 0) + 1
            if shape.foreign and number not in self.acts:
                self.harms.append(f"undid {number}, which was somebody else's")
            if self.undos[number] > shape.undo_fails:
                self.effects.discard(number)
                self.undone.append(number)
            return
        if self.acts.get(number, 0) >= here.attempt:
            self.harms.append(f"{number} twice in attempt {here.attempt}")
        if number > 1 and not self._over(number - 1):
            self.harms.append(f"{number} before {number - 1} was done")
        self.acts[number] = self.acts.get(number, 0) + 1
        self.left[number] = shape.takes
        self.begun.append(number)
        if shape.verb != "Look":
            self.effects.add(number)

    def tick(self) -> None:
        self.left = {number: max(left - 1, 0) for number, left in self.left.items()}

    def _over(self, number: int) -> bool:
        shape, acts = self.script[number - 1], self.acts.get(number, 0)
        return shape.foreign if acts == 0 else acts > shape.fails and self.left[number] == 0

    def _number(self, here: Doing) -> int:
        count = len(self.script)
        return here.step.id if here.step.id <= count else undo_id(here.step.id, count)


Mutilate = Callable[[Operation], Operation]


@dataclass
class Run:
    """Passes of an operator. Only `operation` survives a kill, by way of the status."""

    script: Sequence[Shape]
    permits: Callable[[int], Permit] = lambda _: FREE
    mutilate: Mutilate = lambda operation: operation
    now: float = 1_700_000_000.0

    def __post_init__(self) -> None:
        self.world = World(self.script)
        steps = tuple(
            step_of(number, shape.verb, TRAITS[shape.verb], target=f"t{number}", why="")
            for number, shape in enumerate(self.script, start=1)
        )
        self.steps = steps
        self.plan = FrozenSteps.of(steps)
        self.operation = frozen_operation(Plan("Toy", "Frozen", "g", steps), "toy-1-a", reference=None, now=self.now)
        self.passes = 0

    def one_pass(self, killed: str = "") -> Move:
        permit = self.permits(self.passes)
        self.passes += 1
        before = self.operation
        move = advance(before, Situation(self.plan, self._looks(), permit, self.now, TRAITS))
        self._check(before, move, permit)
        if killed != "before the write":
            self.operation = Operation.model_validate(self.mutilate(move.operation).to_object())
            if move.act is not None and killed != "before the act":
                self.world.act(move.act)
        self.world.tick()
        self.now += 70
        return move

    def _looks(self) -> dict[tuple[int, int], Look]:
        """As services.operation.verbs.look_ahead."""
        looks: dict[tuple[int, int], Look] = {}
        operation = self.operation
        while (here := doing(operation, self.plan)) is not None:
            looks[here.place] = look = self.world.observe(here)
            if not isinstance(look, Done):
                break
            operation = advance(operation, Situation(self.plan, {here.place: look}, FREE, self.now, TRAITS)).operation
        return looks

    def _check(self, before: Operation, move: Move, permit: Permit) -> None:
        after = move.operation
        if before.direction == "Back":
            assert after.direction == "Back", "forward again"
        if move.act is not None:
            assert after.step is not None
            assert (after.step.id, after.attempt) == move.act.place
            assert after.intent is not None
            assert move.act.intent == after.intent
            assert not permit.locked
            assert after.direction == "Back" or not permit.holds, "a new step while it is held"
        if permit.locked:
            shown = before.model_copy(update={"step": after.step, "message": after.message})
            assert after == shown, "moved while somebody else has the cell"
        ids = [(entry.step, entry.attempt) for entry in after.journal]
        assert len(ids) == len(set(ids))

    def to_the_end(self, killed: Iterable[str] = ()) -> Operation:
        left = iter(killed)
        for _ in range(PASSES):
            self.one_pass(next(left, ""))
            if self.operation.outcome is not None:
                return self.operation
        pytest.fail(f"not over after {PASSES} passes: {self.operation}")


def expected(script: Sequence[Shape]) -> tuple[str, int]:
    """(outcome, number of the step it turns at) without kills, from the script alone."""
    for number, shape in enumerate(script, start=1):
        tries = 1 if shape.verb != "Move" else 3
        if not shape.foreign and shape.fails >= tries:
            ours = [s for s in script[:number] if not s.foreign]
            kept = any(s.verb == "Drop" for s in ours)
            return "RolledBack" if not kept and any(s.verb == "Move" for s in ours) else "Failed", number
    return "Succeeded", len(script)


def assert_where_it_belongs(run: Run) -> None:
    """The end, judged from the script: outcome, what is left in the world, and what the fates say about it."""
    outcome, turned = expected(run.script)
    world, operation = run.world, run.operation
    assert world.harms == []
    assert operation.outcome == outcome
    ours = [number for number, shape in enumerate(run.script, start=1) if number <= turned and not shape.foreign]
    assert sorted(set(world.begun)) == ours
    if outcome == "Succeeded":
        assert world.undone == []
        assert set(fates(operation, run.steps)) <= {Fate.DONE, Fate.ALREADY_DONE}
        return
    moves = [number for number in ours if run.script[number - 1].verb == "Move"]
    assert world.undone == moves[::-1], "what was done is undone once, last one first"
    assert world.effects == {number for number in ours if run.script[number - 1].verb == "Drop"}
    found = fates(operation, run.steps)
    assert [number for number, fate in enumerate(found, start=1) if fate is Fate.UNDONE] == moves
    assert {number for number, fate in enumerate(found, start=1) if fate is Fate.KEPT} == world.effects


@given(scripts)
def test_it_ends_where_its_script_says(script: list[Shape]) -> None:
    run = Run(script)
    run.to_the_end()
    assert_where_it_belongs(run)


@settings(max_examples=300)
@given(scripts, kills)
def test_killed_anywhere_it_ends_in_the_same_place(script: list[Shape], killed: list[str]) -> None:
    run = Run(script)
    run.to_the_end(killed)
    assert_where_it_belongs(run)


@pytest.mark.parametrize("killed", ["before the write", "before the act", "after the act"])
@pytest.mark.parametrize("fails", [0, 3])
def test_killed_at_each_pass_it_ends_in_the_same_place(killed: str, fails: int) -> None:
    script = [Shape("Move"), Shape("Look"), Shape("Move", takes=1), Shape("Move", foreign=True), Shape("Move", fails)]
    at = 0
    while True:
        run = Run(script)
        run.to_the_end([""] * at + [killed])
        assert_where_it_belongs(run)
        if run.passes <= at:
            return
        at += 1


@settings(max_examples=200)
@given(scripts, kills, st.integers(0, 20))
def test_cancelled_at_any_pass_it_undoes_what_it_did(script: list[Shape], killed: list[str], at: int) -> None:
    run = Run(script, permits=lambda number: CANCEL if number >= at else FREE)
    run.to_the_end(killed)
    assert run.world.harms == []
    if run.operation.outcome == "Cancelled":
        begun = set(run.world.begun)
        assert run.world.undone == sorted({n for n in begun if script[n - 1].verb == "Move"}, reverse=True)
        assert run.world.effects == {number for number in begun if script[number - 1].verb == "Drop"}
    else:
        assert_where_it_belongs(run)


@given(scripts, kills, st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_pauses_and_a_lost_cell_change_nothing_but_the_time(
    script: list[Shape], killed: list[str], paused: set[int], locked: set[int]
) -> None:
    run = Run(script, permits=lambda number: LOCKED if number in locked else PAUSE if number in paused else FREE)
    run.to_the_end(killed)
    assert_where_it_belongs(run)


@given(scripts)
def test_a_pause_does_not_stop_the_way_back(script: list[Shape]) -> None:
    """Paused for ever from the pass in which it turned back."""
    run = Run(script)
    run.permits = lambda _: PAUSE if run.operation.direction == "Back" else FREE
    run.to_the_end()
    assert_where_it_belongs(run)


@given(scripts, kills)
def test_a_plan_that_was_changed_begins_nothing_more(script: list[Shape], killed: list[str]) -> None:
    """At some moment the plan cannot be proven any more: of its steps those are undone that can."""
    run = Run(script)
    for kill in killed[:6]:
        if run.operation.outcome is None:
            run.one_pass(kill)
    before = list(run.world.begun)
    proven = {number: step for number, step in run.plan.steps.items() if number % 2}
    run.plan = replace(run.plan, steps=proven, lost=Check("PlanChanged", ok=False, evidence="gone"))
    operation = run.to_the_end() if run.operation.outcome is None else run.operation
    assert run.world.begun == before
    assert run.world.harms == []
    if operation.outcome == "Failed" and operation.ending is not None and operation.ending.why.name == "PlanChanged":
        left = {number for number in run.world.effects if number % 2 and script[number - 1].verb == "Move"}
        assert left == set(), "what could be proven is undone"
        if any(number % 2 == 0 for number in run.world.effects):
            assert "by hand" in operation.message


FAILING = [Shape("Move", foreign=True), Shape("Move"), Shape("Move", takes=2), Shape("Move", fails=3)]


def test_control_without_an_intent_the_way_back_would_miss_what_was_done() -> None:
    run = Run(FAILING, mutilate=lambda operation: operation.model_copy(update={"intent": None}))
    run.to_the_end()
    with pytest.raises(AssertionError):
        assert_where_it_belongs(run)


def test_control_without_what_was_already_done_somebody_elses_work_would_be_undone() -> None:
    run = Run(FAILING, mutilate=lambda operation: operation.model_copy(update={"already_done": ()}))
    run.world.effects.add(1)
    run.to_the_end()
    assert run.world.harms == ["undid 1, which was somebody else's"]


def test_control_a_world_that_acts_twice_is_found() -> None:
    run = Run([Shape("Move")])
    move = run.one_pass()
    assert move.act is not None
    run.world.act(move.act)
    assert run.world.harms == ["1 twice in attempt 1"]
