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
from controlplane.services.rebalance.history import History, ended_at
from controlplane.services.tenants.moves import tenant_of

MADE = st.lists(
    st.builds(Made, st.text("abcdef", min_size=1), st.sampled_from("xy"), st.none() | st.floats(0, 9, width=16)),
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
    assert all(by_name[name].ended_at is not None for name in gone)
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
    assert "KafkaRebalance kafka/a is over and stays: kfleet may not" in caplog.text
