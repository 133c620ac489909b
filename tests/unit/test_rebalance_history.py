"""KafkaRebalances that kfleet made and that are over: the newest of each owner stay, and whatever waits or runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import FakeKube

from controlplane.api import names
from controlplane.domain.rebalance.history import Made, outlived
from controlplane.ports import ForbiddenError, KubeApi, Object
from controlplane.services.rebalance.asked import REBALANCES
from controlplane.services.rebalance.history import History, ended_at, is_hopeless
from controlplane.services.tenants.moves import tenant_of

MADE = st.lists(
    st.builds(
        lambda name, owner, stands: Made(name, owner, *stands),
        st.text("abcdef", min_size=1),
        st.sampled_from("xy"),
        st.tuples(st.none(), st.booleans()) | st.tuples(st.floats(0, 9, width=16), st.just(False)),
    ),
    unique_by=lambda one: one.name,
    max_size=12,
)


@given(MADE, st.integers(1, 4), st.sets(st.text("abcdef", min_size=1, max_size=1)))
def test_the_newest_stay_and_so_does_what_is_not_over_or_needed(made: list[Made], keep: int, needed: set[str]) -> None:
    gone = set(outlived(made, keep, needed))
    by_name = {one.name: one for one in made}
    assert not gone & needed
    for owner in "xy":
        over = [one for one in made if one.owner == owner and one.ended_at is not None]
        stay = [one for one in over if one.name not in gone]
        assert len(stay) >= min(keep, len(over))
        assert len(stay) <= keep + len(needed)
        for name in gone & {one.name for one in over}:
            newer = [one for one in stay if (one.ended_at, one.name) > (by_name[name].ended_at, name)]
            assert len(newer) >= keep, "an older one stays instead"
    assert {one.name for one in made if one.hopeless} - needed <= gone, "they would wait for ever"
    assert all(by_name[name].ended_at is not None or by_name[name].hopeless for name in gone)
    assert outlived([one for one in made if one.name not in gone], keep, needed) == ()


def test_none_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="the newest"):
        outlived((), 0)


def rebalance(name: str, minute: int, how: str = "Complete", **status: Any) -> Object:
    at = f"2026-01-01T00:{minute:02}:00Z"
    condition = {"type": how, "status": "True", "reason": "Succeeded", "lastTransitionTime": at}
    return {
        "metadata": {"name": name, "namespace": "kafka", "labels": {names.TENANT: "shop"}},
        "spec": {"clusterRef": {"name": "cell"}, "goal": {"type": "Balance"}},
        "status": {"conditions": [condition]} | status,
    }


def operation(recorded: str, *, delivered: bool = True) -> Object:
    entry = {
        "step": 1,
        "verb": "MoveReplicas",
        "outcome": "Done",
        "at": "2026-01-01T00:00:00Z",
        "delivered": delivered,
    }
    return {
        "id": "rebalance-1-abc",
        "kind": "Rebalance",
        "mode": "Frozen",
        "goal": "x",
        "planHash": "sha256:" + "0" * 64,
        "startedAt": "2026-01-01T00:00:00Z",
        "outcome": "Succeeded",
        "recorded": recorded,
        "journal": [entry],
    }


def test_only_what_is_over_to_the_last_word_counts_as_ended() -> None:
    assert ended_at(rebalance("a", 1)) == ended_at(rebalance("a", 1, "Failed"))
    assert ended_at(rebalance("a", 2, lastOperation=operation("Ended"))) is not None
    waiting = rebalance("a", 1) | {
        "status": {"conditions": [{**rebalance("a", 1)["status"]["conditions"][0], "status": "False"}]}
    }
    going = rebalance("a", 1)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    held = rebalance("a", 1)
    held["metadata"]["finalizers"] = [names.CELL_FINALIZER]
    runs = rebalance("a", 1, operation=operation("Begun") | {"outcome": None})
    untold = rebalance("a", 1, lastOperation=operation("Ended", delivered=False))
    unrecorded = rebalance("a", 1, lastOperation=operation("Begun"))
    odd = rebalance("a", 1, lastOperation={"id": 7})
    new = {"metadata": {"name": "a"}}
    for obj in (waiting, going, held, runs, untold, unrecorded, odd, new):
        assert ended_at(obj) is None, obj


def hopeless(name: str = "a", **status: Any) -> Object:
    """One for which there is no plan."""
    at = "2026-01-01T00:00:00Z"
    base = {"status": "False", "reason": "GoalInfeasible", "message": "", "lastTransitionTime": at}
    conditions = [{"type": kind, **base} for kind in ("Proposed", "Complete", "Failed")]
    return rebalance(name, 0) | {"status": {"conditions": conditions} | status}


def test_only_what_has_no_plan_and_never_had_one_is_hopeless() -> None:
    assert is_hopeless(hopeless())
    assert ended_at(hopeless()) is None
    going, held = hopeless(), hopeless()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    held["metadata"]["finalizers"] = [names.CELL_FINALIZER]
    waits = hopeless()
    waits["status"]["conditions"][0]["reason"] = "NodesDown"
    planned = hopeless(operation=operation("Begun") | {"outcome": None})
    tried = hopeless(lastOperation=operation("Ended"))
    odd = hopeless(lastOperation={"id": 7})
    for obj in (going, held, waits, planned, tried, odd, rebalance("a", 1), {"metadata": {"name": "a"}}):
        assert not is_hopeless(obj), obj


async def stored(*objects: Object) -> FakeKube:
    kube = FakeKube()
    for obj in objects:
        await kube.create(REBALANCES, obj, "kafka")
    return kube


async def left(kube: FakeKube) -> list[str]:
    return [obj["metadata"]["name"] for obj in await kube.list(REBALANCES, "kafka")]


async def test_old_ones_are_deleted_as_they_were_read() -> None:
    kube = await stored(*(rebalance(name, minute) for minute, name in enumerate("abcd", start=1)))
    made = await kube.list(REBALANCES, "kafka")
    changed = await kube.get(REBALANCES, "b", "kafka")
    await kube.replace(REBALANCES, changed)
    await kube.delete(REBALANCES, "c", "kafka")
    history = History(kube, keep=1)
    await history.prune(made, owner=tenant_of, needed={"a"})
    assert await left(kube) == ["a", "b", "d"], "needed, changed since, the newest"
    await history.prune(await kube.list(REBALANCES, "kafka"), owner=tenant_of)
    assert await left(kube) == ["d"]


async def test_what_waits_without_a_plan_goes_once_nobody_tells_of_it() -> None:
    kube = await stored(hopeless("a"), hopeless("b"), rebalance("c", 1))
    history = History(kube, keep=3)
    await history.prune(await kube.list(REBALANCES, "kafka"), owner=tenant_of, needed={"a", "c"})
    assert await left(kube) == ["a", "c"]
    await history.prune(await kube.list(REBALANCES, "kafka"), owner=tenant_of)
    assert await left(kube) == ["c"]


async def test_who_may_not_delete_says_so_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    kube = await stored(rebalance("a", 1), rebalance("b", 2))

    class Strict:
        def __getattr__(self, name: str) -> Any:
            return getattr(kube, name)

        async def delete(self, *args: Any, **words: Any) -> None:
            raise ForbiddenError(403, "Forbidden", "kfleet may not")

    strict: KubeApi = Strict()
    await History(strict, keep=1).prune(await kube.list(REBALANCES, "kafka"), owner=tenant_of)
    assert await left(kube) == ["a", "b"]
    assert "KafkaRebalance kafka/a is not needed and stays: kfleet may not" in caplog.text
