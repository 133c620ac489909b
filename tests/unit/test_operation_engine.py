"""Frozen operations on the engine, on fakes: what people say to them, what goes wrong, and a crash at every write."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from support.fake_kube import FakeKube
from support.simulation import DieAt, Killed, SlowClock
from support.toy import (
    BOARD,
    CLOSED,
    CONFIG_MAPS,
    TOYS,
    ToyRecipe,
    Wipe,
    marks,
    operation_of,
    set_up,
    toy,
    toy_engine,
)

from controlplane.api import names
from controlplane.api.group import GROUP
from controlplane.api.operation import Operation
from controlplane.domain.check import Check
from controlplane.domain.operation import plan as planning
from controlplane.domain.operation.plan import Plan
from controlplane.domain.operation.position import Fate, fates
from controlplane.domain.operation.verb import step_of
from controlplane.ports import NAMESPACE_TERMINATING, ForbiddenError, KubeError, Object, Resource
from controlplane.services.lease import LEASES
from controlplane.services.operation import plans
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.lock import CellLocks, lease_name
from controlplane.services.queue import Key

KEY = Key("ToyRun", "toys", "run")
LEASE = ("leases", "toys", lease_name("toy"))
Script = list[tuple[str, str, dict[str, str]]]
GOOD: Script = [
    ("SetKey", "a", {"value": "1"}),
    ("Count", "counter", {}),
    ("Mark", "m", {}),
    ("SetKey", "b", {"value": "2", "before": "old"}),
    ("Wipe", "junk", {}),
]
STUMBLING: Script = [
    ("SetKey", "a", {"value": "1"}),
    ("SetKey", "kept", {"value": "theirs"}),
    ("Mark", "m", {}),
    ("SetKey", "b", {"value": "2", "before": "old"}),
    ("Stumble", "s", {"fails": "9"}),
]
BEFORE = {"b": "old", "junk": "x", "kept": "theirs"}


class Toys:
    """A namespace with one ToyRun and a clock that moves a second a pass."""

    def __init__(self, kube: FakeKube | None = None) -> None:
        self.kube, self.clock = kube or FakeKube(), SlowClock()

    @staticmethod
    async def created(script: Script, kube: FakeKube | None = None, **spec: Any) -> Toys:
        toys = Toys(kube)
        await set_up(toys.kube, "toys", **BEFORE)
        await toys.kube.create(TOYS, toy("run", script, **spec))
        return toys

    def engine(self, die: DieAt | None = None, *, identity: str = "one") -> Engine:
        return toy_engine(self.kube, self.clock, "toys", interceptors=[die] if die else [], identity=identity)

    async def passes(self, number: int, engine: Engine | None = None) -> None:
        engine = engine or self.engine()
        for _ in range(number):
            self.clock.seconds += 1
            await engine.reconcile(KEY)

    async def to_the_end(self, engine: Engine | None = None, passes: int = 80) -> Operation:
        engine = engine or self.engine()
        for _ in range(passes):
            await self.passes(1, engine)
            _, last = await operation_of(self.kube, "run", "toys")
            if last is not None:
                return last
        raise AssertionError(f"not over after {passes} passes: {await operation_of(self.kube, 'run', 'toys')}")

    async def under_way(self) -> Operation:
        operation, _ = await operation_of(self.kube, "run", "toys")
        assert operation is not None
        return operation

    def board(self) -> dict[str, str]:
        found: dict[str, str] = self.kube.objects[("configmaps", "toys", BOARD)]["data"]
        return found

    def run(self) -> Object:
        return self.kube.objects[("toyruns", "toys", "run")]

    def annotate(self, **annotations: str) -> None:
        self.run()["metadata"]["annotations"] = {
            getattr(names, name.upper()): value for name, value in annotations.items()
        }

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(c for c in self.run()["status"]["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    def holder(self) -> str:
        return str(self.kube.objects[LEASE]["spec"]["holderIdentity"]) if LEASE in self.kube.objects else ""


async def assert_done(toys: Toys) -> None:
    assert toys.board() == {"a": "1", "b": "2", "kept": "theirs"}
    assert toys.kube.objects[("configmaps", "toys", "counter")]["data"] == {"count": "1"}
    assert await marks(toys.kube, "toys") == Counter(m=1)


async def assert_as_before(toys: Toys) -> None:
    assert toys.board() == BEFORE
    assert await marks(toys.kube, "toys") == Counter()


async def test_every_step_is_done_once_in_order_and_the_run_is_complete() -> None:
    toys = await Toys.created(GOOD)
    last = await toys.to_the_end()
    assert last.outcome == "Succeeded"
    assert [(entry.step, entry.outcome) for entry in last.journal] == [(number, "Done") for number in range(1, 6)]
    await assert_done(toys)
    assert (toys.condition("Complete"), toys.condition("Failed")) == (("True", "Succeeded"), ("False", "Succeeded"))
    assert toys.holder() == "", "the cell is free again"
    await toys.passes(5)
    await assert_done(toys)
    assert names.CELL_FINALIZER not in toys.run()["metadata"].get("finalizers", [])


async def test_a_step_that_fails_for_good_has_everything_undone_but_what_others_did() -> None:
    toys = await Toys.created(STUMBLING)
    last = await toys.to_the_end()
    assert last.outcome == "RolledBack"
    assert fates(last, last.steps) == (Fate.UNDONE, Fate.ALREADY_DONE, Fate.UNDONE, Fate.UNDONE, Fate.UNDONE)
    await assert_as_before(toys)
    assert [entry.attempt for entry in last.journal if entry.verb == "Stumble"] == [1, 2, 3]
    assert toys.condition("Failed") == ("True", "RolledBack")


async def test_a_step_that_fails_twice_is_done_at_the_third_attempt() -> None:
    toys = await Toys.created([("Stumble", "s", {"fails": "2"})])
    last = await toys.to_the_end()
    assert last.outcome == "Succeeded"
    assert [(entry.attempt, entry.outcome) for entry in last.journal] == [(1, "Failed"), (2, "Failed"), (3, "Done")]


@pytest.mark.parametrize(("script", "outcome"), [(GOOD, "Succeeded"), (STUMBLING, "RolledBack")])
@pytest.mark.parametrize("padding", [0, 20_000])
async def test_killed_before_and_after_each_write_it_ends_in_the_same_place(
    script: Script, outcome: str, padding: int
) -> None:
    """One life for each kill: before call N, then after call N, until a life has no call N."""
    walked = []
    for number in range(1, 100):
        for phase in ("before", "after"):
            toys = await Toys.created(script, padding=padding)
            die, dead = DieAt(number, phase), False
            try:
                await toys.to_the_end(toys.engine(die))
            except Killed:
                dead = True
                last = await toys.to_the_end()
                assert last.outcome == outcome
                await (assert_done if outcome == "Succeeded" else assert_as_before)(toys)
                keys = [(entry.step, entry.attempt) for entry in last.journal]
                assert len(keys) == len(set(keys))
                walked.append(f"{number} {phase}")
        if not dead:
            break
    assert len(walked) >= 20, walked


@pytest.mark.parametrize("padding", [0, 20_000], ids=["small", "several parts"])
async def test_a_walk_that_dies_at_every_single_write_gets_there_too(
    padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "PART_BYTES", 30_000)
    """Life after life dies at its first write, before and after in turn: nothing but the status carries over."""
    toys = await Toys.created(GOOD, padding=padding)
    for life in range(200):
        die = DieAt(1 + life // 2 % 2, ("before", "after")[life % 2])
        with contextlib.suppress(Killed):
            await toys.passes(3, toys.engine(die))
        if (await operation_of(toys.kube, "run", "toys"))[1] is not None:
            break
    else:
        pytest.fail(f"it never gets there: {await operation_of(toys.kube, 'run', 'toys')}")
    await assert_done(toys)


async def test_a_pause_begins_nothing_new_and_is_taken_back() -> None:
    toys = await Toys.created([("AwaitKey", "k", {}), ("SetKey", "a", {"value": "1"})])
    engine = toys.engine()
    await toys.passes(3, engine)
    toys.annotate(paused="true")
    await toys.passes(2, engine)
    assert toys.holder() != "", "what was begun is finished under the lock"
    toys.board()["k"] = "go"
    await toys.passes(5, engine)
    assert "a" not in toys.board()
    assert toys.condition("Blocked") == ("True", "Paused")
    assert toys.holder() == "", "a pause lets others in"
    toys.annotate()
    assert (await toys.to_the_end(engine)).outcome == "Succeeded"


async def test_a_pause_does_not_hold_up_a_step_that_takes_away_what_another_set() -> None:
    toys = await Toys.created(
        [
            ("SetKey", "throttle", {"value": "on"}),
            ("AwaitKey", "k", {}),
            ("RestoreKey", "throttle", {"before": ""}),
            ("SetKey", "a", {"value": "1"}),
        ]
    )
    engine = toys.engine()
    await toys.passes(4, engine)
    assert toys.board()["throttle"] == "on"
    toys.annotate(paused="true")
    toys.board()["k"] = "go"
    await toys.passes(6, engine)
    assert "throttle" not in toys.board()
    assert "a" not in toys.board()
    assert toys.condition("Blocked") == ("True", "Paused")


async def test_a_cancel_undoes_and_taking_it_back_does_not_bring_it_back() -> None:
    toys = await Toys.created([*GOOD[:1], ("Mark", "m", {}), ("AwaitKey", "k", {})])
    engine = toys.engine()
    await toys.passes(5, engine)
    operation = await toys.under_way()
    toys.annotate(cancel=operation.id)
    await toys.passes(1, engine)
    toys.annotate()
    last = await toys.to_the_end(engine)
    assert last.outcome == "Cancelled"
    await assert_as_before(toys)
    assert toys.condition("Failed") == ("True", "Cancelled")
    await toys.passes(5, engine)
    await assert_as_before(toys)


async def test_a_closed_gate_holds_the_next_step_only() -> None:
    toys = await Toys.created([("AwaitKey", "k", {}), ("SetKey", "a", {"value": "1"})])
    engine = toys.engine()
    await toys.passes(3, engine)
    toys.board()[CLOSED] = "closed"
    toys.board()["k"] = "go"
    await toys.passes(4, engine)
    assert toys.condition("Blocked") == ("True", "GateOpen")
    assert "a" not in toys.board()
    assert toys.holder() == "", "whoever opens it may need the cell"
    del toys.board()[CLOSED]
    assert (await toys.to_the_end(engine)).outcome == "Succeeded"


async def test_a_closed_gate_does_not_hold_up_a_step_that_takes_away_what_another_set() -> None:
    toys = await Toys.created(
        [
            ("SetKey", "throttle", {"value": "on"}),
            ("AwaitKey", "k", {}),
            ("RestoreKey", "throttle", {"before": ""}),
            ("SetKey", "a", {"value": "1"}),
        ]
    )
    engine = toys.engine()
    await toys.passes(4, engine)
    toys.board()[CLOSED] = "closed"
    await toys.passes(2, engine)
    assert toys.holder() != "", "what was begun is finished under the lock"
    toys.board()["k"] = "go"
    await toys.passes(6, engine)
    assert "throttle" not in toys.board()
    assert "a" not in toys.board()
    assert toys.condition("Blocked") == ("True", "GateOpen")


async def test_a_changed_spec_supersedes_the_operation_and_a_new_plan_follows() -> None:
    toys = await Toys.created([("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {})])
    engine = toys.engine()
    await toys.passes(4, engine)
    obj = await toys.kube.get(TOYS, "run", "toys")
    obj["spec"]["script"] = obj["spec"]["script"][:1]
    obj["spec"]["script"][0]["parameters"] = {"value": "2"}
    await toys.kube.replace(TOYS, obj)
    assert (await toys.to_the_end(engine)).outcome == "Superseded"
    assert toys.board() == BEFORE
    await toys.passes(6, engine)
    assert toys.board()["a"] == "2"
    assert toys.condition("Complete") == ("True", "Succeeded")


@pytest.mark.parametrize("padding", [0, 20_000])
async def test_an_object_that_is_deleted_in_the_middle_goes_when_everything_is_undone(padding: int) -> None:
    toys = await Toys.created([("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {})], padding=padding)
    engine = toys.engine()
    await toys.passes(8, engine)
    assert toys.board()["a"] == "1"
    await toys.kube.delete(TOYS, "run", "toys")
    assert "deletionTimestamp" in toys.run()["metadata"], "kept while there is something to undo"
    await toys.kube.create(Resource("", "v1", "namespaces", "Namespace"), {"metadata": {"name": "toys"}}, "")
    await toys.passes(10, engine)
    assert ("toyruns", "toys", "run") not in toys.kube.objects
    assert toys.board() == BEFORE
    left = [obj for obj in toys.kube.objects.values() if obj["metadata"].get("finalizers")]
    assert left == [], "its plan is not kept from going either"
    assert toys.holder() == ""


async def test_a_run_that_has_not_begun_goes_at_once() -> None:
    toys = await Toys.created(GOOD)
    toys.annotate(paused="true")
    await toys.passes(3)
    await toys.kube.delete(TOYS, "run", "toys")
    assert ("toyruns", "toys", "run") not in toys.kube.objects


async def test_steps_in_the_status_that_are_not_of_the_plan_are_not_followed() -> None:
    toys = await Toys.created([("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {}), *GOOD[1:]])
    engine = toys.engine()
    await toys.passes(4, engine)
    toys.run()["status"]["operation"]["steps"][3]["target"] = "evil"
    last = await toys.to_the_end(engine)
    assert (last.outcome, last.ending.why.name if last.ending else "") == ("Failed", "PlanChanged")
    assert "step 1-2" in last.message
    assert "evil" not in str(toys.kube.objects[("configmaps", "toys", BOARD)])
    assert toys.board()["a"] == "1", "what cannot be proven to be of the plan is not undone either: people are told"


@pytest.mark.parametrize("how", ["gone", "changed"])
async def test_a_plan_whose_config_map_is_not_what_was_written_is_undone_as_far_as_it_can_be_proven(how: str) -> None:
    script: Script = [("SetKey", f"key{number}", {"value": "1"}) for number in range(60)]
    script.insert(50, ("AwaitKey", "k", {}))
    toys = await Toys.created(script, padding=30_000)
    engine = toys.engine()
    while toys.board().get("k") is None:
        await toys.passes(1, engine)
    operation = await toys.under_way()
    assert operation.plan_ref is not None
    parts = operation.plan_ref.config_maps
    assert len(parts) > 1
    first = toys.kube.objects[("configmaps", "toys", parts[0])]
    if how == "gone":
        del toys.kube.objects[("configmaps", "toys", parts[0])]
    else:
        first["binaryData"] = toys.kube.objects[("configmaps", "toys", parts[1])]["binaryData"]
    await toys.passes(2, engine)
    assert (await toys.under_way()).ending is None, "this life has proven the plan and knows it"
    last = await toys.to_the_end(toys.engine())
    assert (last.outcome, last.ending.why.name if last.ending else "") == ("Failed", "PlanChanged")
    lost = [number for number in range(60) if toys.board().get(f"key{number}")]
    assert lost == list(range(len(lost))), "only what the first part held is left"
    assert 0 < len(lost) < 50
    assert f"step 1-{len(lost)} did is to be looked at by hand" in last.message


async def test_a_verb_that_this_version_does_not_know_is_waited_for() -> None:
    toys = await Toys.created(GOOD)
    toys.annotate(paused="true")
    await toys.passes(2)
    toys.annotate()
    engine = toys.engine()
    known = engine._kind._recipe.verbs  # type: ignore[attr-defined]
    verb = known.pop("SetKey")
    await toys.passes(3, engine)
    assert toys.condition("Blocked") == ("True", "UnknownVerb")
    known["SetKey"] = verb
    assert (await toys.to_the_end(engine)).outcome == "Succeeded"


async def test_a_plan_that_cannot_be_made_says_why() -> None:
    toys = await Toys.created([("Dance", "a", {})])
    await toys.passes(3)
    assert toys.condition("Ready") == ("False", "NoSuchVerb")
    assert toys.condition("Stalled") == ("True", "NoSuchVerb")


@pytest.mark.parametrize("content", ["a plan", "no document"])
@pytest.mark.parametrize("padding", [0, 20_000])
async def test_a_plan_that_somebody_else_put_there_is_not_followed(
    content: str, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name and label are as the operator would have made them: whoever may create ConfigMaps can compute both."""
    toys = await Toys.created(GOOD, padding=padding)
    wipe = step_of(1, "Wipe", Wipe.traits, target="kept", why="")
    planted = plans.PlanStore(toys.kube)
    if content == "a plan":
        reference = await planted.store(toys.run(), Plan("Toy", "Frozen", "evil", (wipe,), {"cell": "toy"}))
    else:
        with monkeypatch.context() as patched:
            patched.setattr(plans, "canonical", lambda _: b"{}")
            reference = await planted.store(toys.run(), Plan("Toy", "Frozen", "evil", (wipe,)))
    assert (await toys.to_the_end()).outcome == "Succeeded"
    await assert_done(toys)
    assert ("configmaps", "toys", reference.config_maps[0]) not in toys.kube.objects


async def test_a_plan_of_several_parts_whose_storing_is_cut_short_anywhere_is_stored_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plans, "PART_BYTES", 30_000)
    whole = await Toys.created(GOOD, padding=20_000)
    stored = (await whole.to_the_end()).plan_ref
    assert stored is not None
    assert len(stored.config_maps) > 2
    for number in range(1, len(stored.config_maps) + 1):
        toys = await Toys.created(GOOD, padding=20_000)
        with pytest.raises(Killed):
            await toys.passes(20, toys.engine(DieAt(number + 1, "after")))
        assert (await toys.to_the_end()).outcome == "Succeeded"
        await assert_done(toys)


async def test_the_plan_that_was_stored_is_followed_although_another_would_be_made_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new life, which cannot tell its own parts from planted ones, makes a plan anew and removes the old one."""
    made, numbers = ToyRecipe.plan, count(1)

    async def another(self: ToyRecipe, obj: Object) -> Plan | tuple[Check, ...]:
        plan = await made(self, obj)
        assert isinstance(plan, Plan)
        return replace(plan, constraints={"made": next(numbers)})

    monkeypatch.setattr(ToyRecipe, "plan", another)
    toys = await Toys.created(GOOD, padding=20_000)
    with pytest.raises(Killed):
        await toys.passes(5, toys.engine(DieAt(2, "after")))
    last = await toys.to_the_end()
    assert (last.outcome, last.constraints) == ("Succeeded", '{"made":2}')
    await assert_done(toys)
    assert last.plan_ref is not None
    assert {name for _, _, name in toys.kube.objects if "-plan-" in name} == set(last.plan_ref.config_maps)


async def test_no_large_plan_is_hashed_or_read_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    here, hashed = threading.get_ident(), Counter[tuple[str, bool]]()
    digest, proven = planning.digest, plans._proven

    def counted_digest(document: Any) -> str:
        hashed["digest", threading.get_ident() == here] += 1
        return digest(document)

    def counted_proven(*given: Any) -> Any:
        hashed["proven", threading.get_ident() == here] += 1
        return proven(*given)

    monkeypatch.setattr(planning, "digest", counted_digest)
    monkeypatch.setattr(plans, "digest", counted_digest)
    monkeypatch.setattr(plans, "_proven", counted_proven)
    toys = await Toys.created(GOOD, padding=20_000)
    with pytest.raises(Killed):
        await toys.passes(5, toys.engine(DieAt(2, "after")))
    assert (await toys.to_the_end()).outcome == "Succeeded"
    assert {name for name, _ in hashed} == {"digest", "proven"}
    assert {name for name, in_loop in hashed if in_loop} == set()


@pytest.mark.parametrize("padding", [0, 20_000])
@pytest.mark.parametrize(
    ("field", "value"), [("goal", "g" * 1025), ("constraints", {"brokers": "b" * 8192})], ids=["goal", "constraints"]
)
async def test_a_plan_that_no_status_can_carry_is_not_proposed(
    monkeypatch: pytest.MonkeyPatch, field: str, value: Any, padding: int
) -> None:
    made = ToyRecipe.plan

    async def too_long(self: ToyRecipe, obj: Object) -> Plan | tuple[Check, ...]:
        plan = await made(self, obj)
        assert isinstance(plan, Plan)
        return replace(plan, **{field: value})

    monkeypatch.setattr(ToyRecipe, "plan", too_long)
    toys = await Toys.created(GOOD, padding=padding)
    await toys.passes(3)
    assert toys.condition("Stalled") == ("True", "PlanUnfit")
    assert toys.condition("Ready") == ("False", "PlanUnfit")
    assert field in str(toys.run()["status"]["conditions"])
    assert "operation" not in toys.run()["status"]
    assert toys.board() == BEFORE


async def test_an_action_that_is_refused_is_shown_and_tried_again() -> None:
    toys = await Toys.created(GOOD)
    patch, refusing = toys.kube.patch, True

    async def refused(resource: Resource, name: str, namespace: str | None, body: Object, **more: Any) -> Object:
        if refusing and name == BOARD:
            raise KubeError(403, "Forbidden", "the quota is used up")
        return await patch(resource, name, namespace, body, **more)

    toys.kube.patch = refused  # type: ignore[method-assign]
    engine = toys.engine()
    await toys.passes(4, engine)
    assert toys.condition("Blocked") == ("True", "StepFailed")
    assert (await toys.under_way()).attempt == 1, "not a failure by count"
    refusing = False
    assert (await toys.to_the_end(engine)).outcome == "Succeeded"
    await assert_done(toys)


class TestTheCell:
    async def test_two_operations_of_one_operator_take_turns(self) -> None:
        """Neither takes the cell from the other, however their passes mix."""
        toys = await Toys.created([("AwaitKey", "k", {}), ("SetKey", "first", {"value": "1"})])
        await toys.kube.create(TOYS, toy("other", [("SetKey", "second", {"value": "1"})]))
        engine = toys.engine()
        other = Key("ToyRun", "toys", "other")
        for _ in range(10):
            await toys.passes(1, engine)
            await engine.reconcile(other)
        assert toys.board().get("second") is None
        operation = await toys.under_way()
        assert toys.holder() == f"{operation.id}/one"
        toys.board()["k"] = "go"
        for _ in range(10):
            await toys.passes(1, engine)
            await engine.reconcile(other)
        assert (toys.board()["first"], toys.board()["second"]) == ("1", "1")

    async def test_pausing_one_does_not_free_the_cell_of_the_other(self) -> None:
        toys = await Toys.created([("AwaitKey", "k", {})])
        await toys.kube.create(TOYS, toy("other", [("SetKey", "second", {"value": "1"})]))
        engine, other = toys.engine(), Key("ToyRun", "toys", "other")
        await toys.passes(3, engine)
        held = toys.holder()
        meta = toys.kube.objects[("toyruns", "toys", "other")]["metadata"]
        await engine.reconcile(other)
        meta["annotations"] = {names.PAUSED: "true"}
        for _ in range(3):
            await engine.reconcile(other)
        assert toys.holder() == held != ""

    @pytest.mark.parametrize("control", [False, True], ids=["", "control: without looking again"])
    async def test_what_was_seen_before_the_cell_was_ours_is_not_acted_on(
        self, monkeypatch: pytest.MonkeyPatch, *, control: bool
    ) -> None:
        """Another life acts between our look and our taking the Lease; its mark must stay the only one."""
        if control:
            monkeypatch.setattr(CellLocks, "had_before", lambda *_: True)
        toys = await Toys.created([("Mark", "m", {})])
        first = toys.engine(identity="one")
        toys.annotate(paused="true")
        await toys.passes(2, first)
        toys.annotate()
        create, acted = toys.kube.create, False

        async def created(resource: Resource, body: Object, namespace: str | None = None) -> Object:
            nonlocal acted
            if resource == LEASES and not acted:
                acted = True
                meta = {"name": "mark-m-elsewhere", "namespace": "toys", "labels": {f"{GROUP}/toy-mark": "m"}}
                await create(CONFIG_MAPS, {"metadata": meta})
            return await create(resource, body, namespace)

        toys.kube.create = created  # type: ignore[method-assign]
        await toys.to_the_end(first)
        assert acted
        assert await marks(toys.kube, "toys") == Counter(m=2 if control else 1)

    async def test_the_lease_belongs_to_the_cluster_and_not_to_who_asked(self) -> None:
        toys = await Toys.created(GOOD)
        clusters = Resource("kfleet.dev", "v1alpha1", "kafkaclusters", "KafkaCluster")
        await toys.kube.create(clusters, {"metadata": {"name": "toy", "namespace": "toys"}, "spec": {}})
        await toys.to_the_end()
        (owner,) = toys.kube.objects[LEASE]["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("KafkaCluster", "toy")

    async def test_without_a_cluster_nobody_owns_the_lease(self) -> None:
        toys = await Toys.created(GOOD)
        await toys.to_the_end()
        assert "ownerReferences" not in toys.kube.objects[LEASE]["metadata"]

    async def test_where_no_lease_can_be_made_any_more_clean_up_still_runs_for_one_at_a_time(self) -> None:
        toys = await Toys.created([("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {})])
        await toys.passes(5)
        del toys.kube.objects[LEASE]
        create = toys.kube.create

        async def terminating(resource: Resource, body: Object, namespace: str | None = None) -> Object:
            if resource == LEASES:
                raise ForbiddenError(403, NAMESPACE_TERMINATING, "it is being terminated")
            return await create(resource, body, namespace)

        toys.kube.create = terminating  # type: ignore[method-assign]
        await toys.kube.create(TOYS, toy("other", [("SetKey", "second", {"value": "1"})]))
        engine = toys.engine()
        toys.annotate(cancel=(await toys.under_way()).id)
        await toys.passes(2, engine)
        await engine.reconcile(Key("ToyRun", "toys", "other"))
        assert toys.board().get("second") is None
        await toys.passes(5, engine)
        assert "a" not in toys.board()
        assert "k" not in toys.board()
