"""Plans, their hashes, and where they lie when they are too large for a status."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace
from typing import Any

import pytest
from support.fake_kube import FakeKube
from support.simulation import DieAt, Killed
from support.toy import noise

from controlplane.api import names
from controlplane.api.operation import INLINE_PLAN_BYTES, STEPS_LIMIT, Operation, PlanRef
from controlplane.domain.operation.plan import Plan, frozen_operation, generation_of, operation_id, unfit
from controlplane.domain.operation.verb import Traits, contradictions, step_of
from controlplane.ports import AlreadyExistsError, InvalidError, Object
from controlplane.services.intercept import intercept_kube
from controlplane.services.operation import plans
from controlplane.services.operation.plans import CONFIG_MAPS, KEY, PART_BYTES, PlanStore, fits_inline

OWNER: Object = {
    "apiVersion": "kfleet.dev/v1alpha1",
    "kind": "ToyRun",
    "metadata": {"name": "run", "namespace": "toys", "uid": "u-1", "generation": 3},
}
MOVE = Traits(risk="Disruptive", inverse="MoveBack")


def plan(steps: int, padding: int = 0, **changes: Any) -> Plan:
    made = tuple(
        step_of(n, "Move", MOVE, target=f"t-{n}", why="w", **{f"p{i}": noise(n, i) for i in range(padding)})
        for n in range(1, steps + 1)
    )
    whole = Plan("Toy", "Frozen", "g", made, {"rate": 7, "brokers": [1, 2]}, ("Health",))
    return replace(whole, **changes)


def operation(whole: Plan, reference: Any) -> Operation:
    return frozen_operation(whole, "toy-3-abc", reference=reference, now=0)


def test_the_hash_covers_what_is_done_and_nothing_that_is_only_said() -> None:
    one = plan(3)
    step = one.steps[1]
    same = step.model_copy(update={"why": "other words"})
    assert replace(one, goal="other words", steps=(one.steps[0], same, one.steps[2])).hash == one.hash
    for change in (
        {"target": "t-9"},
        {"verb": "Drop"},
        {"parameters": {"x": "1"}},
        {"inverse": ""},
        {"risk": "Destructive"},
    ):
        other = step.model_copy(update=change)
        assert replace(one, steps=(one.steps[0], other, one.steps[2])).hash != one.hash, change
    assert replace(one, constraints={"rate": 8}).hash != one.hash
    assert replace(one, gates=()).hash != one.hash
    assert plan(2).hash != one.hash
    assert replace(one, mode="Replanned").hash == replace(plan(2), mode="Replanned").hash


def test_an_id_tells_the_generation_that_it_was_made_for() -> None:
    assert generation_of(operation_id("Toy", "u", 17, plan(1).hash)) == 17
    assert generation_of(operation_id("A-B", "u", 2, plan(1).hash)) == 2
    assert generation_of("something") == -1


def test_a_plan_that_says_other_than_its_verbs_is_found() -> None:
    verbs = {"Move": MOVE}
    (wrong,) = contradictions(plan(1).steps, verbs)
    assert "no verb MoveBack" in wrong
    assert contradictions(plan(1).steps, verbs | {"MoveBack": Traits()}) == ()
    assert "is Safe" in contradictions(plan(1).steps, {"Move": Traits(), "MoveBack": Traits()})[0]
    assert "no verb Move" in contradictions(plan(1).steps, {})[0]


def test_what_fits_into_a_status() -> None:
    assert fits_inline(plan(STEPS_LIMIT))
    assert not fits_inline(plan(STEPS_LIMIT + 1))
    large = INLINE_PLAN_BYTES // 1000
    assert fits_inline(plan(2, large // 2 - 1))
    assert not fits_inline(plan(3, large // 2))


async def test_a_small_plan_is_proven_from_the_status() -> None:
    store, whole = PlanStore(FakeKube()), plan(3)
    loaded = await store.prove(OWNER, operation(whole, None))
    assert loaded.plan.lost is None
    assert [loaded.plan.steps[n] for n in (1, 2, 3)] == list(whole.steps)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": plan(2).steps},
        {"steps": (*plan(3).steps[:2], plan(3).steps[2].model_copy(update={"verb": "Drop"}))},
        {"steps": plan(3).steps[::-1]},
        {"constraints": '{"rate": 700}'},
        {"constraints": "not json"},
        {"gates": ()},
        {"kind": "Other"},
        {"plan_hash": ""},
    ],
    ids=["fewer", "verb", "order", "constraints", "no constraints", "gates", "kind", "hash"],
)
async def test_any_change_of_a_small_plan_is_seen(change: dict[str, Any]) -> None:
    changed = operation(plan(3), None).model_copy(update=change)
    loaded = await PlanStore(FakeKube()).prove(OWNER, changed)
    assert loaded.plan.lost is not None
    assert loaded.plan.lost.name == "PlanChanged"
    assert loaded.plan.steps == {}


async def test_a_large_plan_comes_back_as_it_was_stored() -> None:
    kube, whole = FakeKube(), plan(120, 25)
    reference = await PlanStore(kube).store(OWNER, whole)
    assert reference.steps == 120
    assert len(reference.config_maps) > 1
    for name in reference.config_maps:
        obj = kube.objects[("configmaps", "toys", name)]
        assert obj["immutable"] is True
        assert len(base64.b64decode(obj["binaryData"][KEY])) <= PART_BYTES
        assert obj["metadata"]["ownerReferences"][0]["uid"] == "u-1"
        assert len(name) <= 253
    loaded = await PlanStore(kube).prove(OWNER, operation(whole, reference))
    assert loaded.plan.lost is None
    assert await PlanStore(kube).load(OWNER, operation(whole, reference)) == whole.steps
    assert sorted(await PlanStore(kube).present(OWNER)) == sorted(reference.config_maps)


async def test_a_store_that_was_cut_short_finds_what_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "PART_BYTES", 20_000)
    whole = plan(12, 8)
    complete = len((await PlanStore(FakeKube()).store(OWNER, whole)).config_maps)
    assert complete > 2
    kills = 0
    for number in range(1, complete + 1):
        for phase in ("before", "after"):
            kube = FakeKube()
            with pytest.raises(Killed):
                await PlanStore(intercept_kube(kube, [DieAt(number, phase)])).store(OWNER, whole)
            kills += 1
            assert len(await PlanStore(kube).present(OWNER)) == number - (phase == "before")
            assert (await PlanStore(kube).stored(OWNER, whole) is not None) == (len(kube.objects) == complete)
            reference = await PlanStore(kube).store(OWNER, whole)
            assert await PlanStore(kube).store(OWNER, whole) == reference
            assert await PlanStore(kube).load(OWNER, operation(whole, reference)) == whole.steps
            assert len(kube.objects) == complete, "a retry makes no second copy"
    assert kills == 2 * complete


async def test_another_generation_and_a_namesake_have_config_maps_of_their_own() -> None:
    kube, whole = FakeKube(), plan(120, 25)
    first = await PlanStore(kube).store(OWNER, whole)
    later = await PlanStore(kube).store(OWNER | {"metadata": OWNER["metadata"] | {"generation": 4}}, whole)
    twin = OWNER | {"metadata": OWNER["metadata"] | {"uid": "u-2"}}
    assert await PlanStore(kube).present(twin) == ()
    other = await PlanStore(kube).store(twin, whole)
    every = [*first.config_maps, *later.config_maps, *other.config_maps]
    assert len(set(every)) == len(every)
    assert sorted(await PlanStore(kube).present(OWNER)) == sorted([*first.config_maps, *later.config_maps])


@pytest.mark.parametrize("change", [{"immutable": False}, {"metadata": {"labels": {}}}], ids=["mutable", "no label"])
async def test_a_part_that_could_be_changed_or_would_not_be_found_is_not_taken_for_stored(
    change: dict[str, Any],
) -> None:
    kube, whole = FakeKube(), plan(120, 25)
    reference = await PlanStore(kube).store(OWNER, whole)
    await PlanStore(kube).store(OWNER, whole)
    part = kube.objects[("configmaps", "toys", reference.config_maps[0])]
    assert await PlanStore(kube).stored(OWNER, whole) == reference
    part |= change if "metadata" not in change else {"metadata": part["metadata"] | change["metadata"]}
    assert await PlanStore(kube).stored(OWNER, whole) is None
    with pytest.raises(AlreadyExistsError, match="holds something else"):
        await PlanStore(kube).store(OWNER, whole)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"no JSON", b'{"part": 0, "steps": [{"id": 1}]}', b'{"part": -1}'])
async def test_what_is_no_part_is_not_proven_whatever_its_name_says(content: bytes) -> None:
    name = plans._name("run", "u-1", content)
    kube = FakeKube()
    await kube.create(CONFIG_MAPS, plans._config_map(OWNER, name, content))
    loaded = await PlanStore(kube).prove(OWNER, operation(plan(3), PlanRef(config_maps=(name,), steps=3)))
    assert loaded.plan.lost is not None
    assert "not what was written" in loaded.plan.lost.evidence


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"goal": "g" * 1025}, "goal"),
        ({"constraints": {"c": "c" * 8192}}, "constraints"),
        ({"gates": ("Health",) * 65}, "gates"),
    ],
)
def test_a_plan_that_no_status_can_carry_is_found(change: dict[str, Any], named: str) -> None:
    assert unfit(plan(STEPS_LIMIT + 1, goal="g" * 1024, constraints={"c": "c" * 8184})) is None
    why = unfit(plan(3, **change))
    assert why is not None
    assert named in why.evidence


@pytest.mark.parametrize("how", ["other part", "other content", "not gzip", "bomb", "no data"])
async def test_a_part_that_is_not_what_its_name_says_is_left_out(how: str) -> None:
    kube, whole = FakeKube(), plan(120, 25)
    reference = await PlanStore(kube).store(OWNER, whole)
    first, second = (kube.objects[("configmaps", "toys", name)] for name in reference.config_maps[:2])
    content = {
        "other part": second["binaryData"][KEY],
        "other content": _packed(gzip.decompress(base64.b64decode(first["binaryData"][KEY])).replace(b"t-1", b"t-2")),
        "not gzip": base64.b64encode(b"hello").decode(),
        "bomb": _packed(b"0" * (plans.RAW_BYTES * 4)),
    }
    first["binaryData"] = {KEY: content[how]} if how in content else {}
    loaded = await PlanStore(kube).prove(OWNER, operation(whole, reference))
    assert loaded.plan.lost is not None
    assert reference.config_maps[0] in loaded.plan.lost.evidence
    assert loaded.plan.count == 120
    assert 0 < len(loaded.plan.steps) < 120
    assert all(step == whole.steps[number - 1] for number, step in loaded.plan.steps.items())
    with pytest.raises(AlreadyExistsError, match="holds something else"):
        await PlanStore(kube).store(OWNER, whole)


async def test_parts_of_another_plan_are_not_the_plan() -> None:
    """Each part is genuine, and yet they are not what the hash (and an Approval) names."""
    kube = FakeKube()
    reference = await PlanStore(kube).store(OWNER, plan(120, 25))
    other = plan(120, 24)
    loaded = await PlanStore(kube).prove(OWNER, operation(other, reference))
    assert loaded.plan.lost is not None
    assert loaded.plan.steps == {}


async def test_a_guarded_plan_outlives_its_deletion_and_a_known_one_is_not_read_again() -> None:
    kube, whole = FakeKube(), plan(120, 25)
    store = PlanStore(kube)
    reference = await store.store(OWNER, whole)
    assert not (await store.prove(OWNER, operation(whole, reference))).guarded
    await store.guard("toys", reference.config_maps)
    for name in reference.config_maps:
        await kube.delete(CONFIG_MAPS, name, "toys")
    assert (await PlanStore(kube).prove(OWNER, operation(whole, reference))).plan.lost is None
    assert (await store.prove(OWNER, operation(whole, reference))).guarded
    assert sorted(await store.guarded(OWNER)) == sorted(reference.config_maps)
    await store.release("toys", reference.config_maps)
    assert [obj for obj in kube.objects.values() if names.CELL_FINALIZER in obj["metadata"].get("finalizers", [])] == []
    assert kube.objects == {}
    assert (await store.prove(OWNER, operation(whole, reference))).plan.lost is None, "it was proven and is known"
    assert (await PlanStore(kube).prove(OWNER, operation(whole, reference))).plan.lost is not None
    await store.release("toys", reference.config_maps)


async def test_a_plan_that_is_larger_than_can_be_stored_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "PART_BYTES", 20_000)
    monkeypatch.setattr(plans, "MAX_PARTS", 2)
    with pytest.raises(InvalidError, match="2 are allowed"):
        await PlanStore(FakeKube()).store(OWNER, plan(12, 8))
    monkeypatch.setattr(plans, "PART_BYTES", 2_000)
    with pytest.raises(InvalidError, match="step 1 alone"):
        await PlanStore(FakeKube()).store(OWNER, plan(2, 8))


def _packed(raw: bytes) -> str:
    return base64.b64encode(gzip.compress(raw)).decode()
