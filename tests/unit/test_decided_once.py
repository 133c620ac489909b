"""A kind is asked twice in a pass where its operation may do less than it was asked under first, and once elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from support.ill_cell import NEW, IllNamespace, on_old
from support.remembered import Beside, beside
from support.simulation import KEY, SETTINGS, DieAt, around, service

from controlplane.api import names
from controlplane.domain.operation.permit import CELL_LOCKED, FREE, Permit
from controlplane.services.cluster.kind import KAFKA_CLUSTERS


async def upgrading(**rollout: Any) -> tuple[IllNamespace, Beside, Any]:
    """An operator that has not looked yet at the new version that is declared."""
    namespace = await on_old()
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    await namespace.change(version=NEW, rollout=obj["spec"]["rollout"] | rollout)
    engine = service(namespace, DieAt())
    return namespace, beside(engine), engine


async def asked(namespace: IllNamespace, seen: Beside, engine: Any) -> list[Permit]:
    """The permits of one pass, in order."""
    del seen.asked[:]
    namespace.turn()
    await engine.reconcile(KEY)
    return [permit for _, permit, _ in seen.asked]


def of(permits: list[Permit]) -> list[set[str]]:
    return [{check.name for check in permit.holds} for permit in permits]


async def test_once_while_there_is_nothing_to_roll_and_while_all_is_permitted() -> None:
    namespace, seen, engine = await upgrading()
    for _ in range(100):
        assert await asked(namespace, seen, engine) == [FREE]
        if await namespace.ready():
            break
    assert namespace.running() == [NEW] * 3
    assert await asked(namespace, seen, engine) == [FREE]


@pytest.mark.parametrize(
    ("annotations", "hold"), [({names.PAUSED: "true"}, "Paused"), ({names.CANCEL: "?"}, "Cancelled")]
)
async def test_again_under_what_people_say(annotations: dict[str, str], hold: str) -> None:
    namespace, seen, engine = await upgrading()
    await asked(namespace, seen, engine)
    operation = (await namespace.status())["operation"]["id"]
    words = {key: operation if word == "?" else word for key, word in annotations.items()}
    await namespace.kube.patch(KAFKA_CLUSTERS, "cell", "kafka", {"metadata": {"annotations": words}})
    assert of(await asked(namespace, seen, engine)) == [set(), {hold}]


async def test_again_while_nobody_has_approved() -> None:
    namespace, seen, engine = await upgrading(approval="Required")
    for _ in range(3):
        assert of(await asked(namespace, seen, engine)) == [set(), {"AwaitingApproval"}]
    assert set(namespace.running()) == {"4.2.0"}


async def test_again_while_somebody_else_has_the_cell() -> None:
    namespace, seen, engine = await upgrading()
    other = around(namespace.kube, namespace.clock, SETTINGS, identity="other")
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    assert await other.locks.take(KEY.cell, obj, "rebalance-1") is None
    assert of(await asked(namespace, seen, engine)) == [set(), {CELL_LOCKED}]
    assert set(namespace.running()) == {"4.2.0"}
