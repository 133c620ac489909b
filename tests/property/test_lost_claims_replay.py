"""Claims that are lost on up to two of five nodes, replaced one after the other by an operator that is killed anywhere.

Through the whole pass, spec checks included: nothing is formatted that nobody gave up, and it ends.
"""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.shelves import Shelves, shelved
from support.simulation import KEY, DieAt, Killed, service

Lives = list[tuple[int, str]]
some_volumes = st.sampled_from(((0,), (1,), (0, 1)))
losses = st.dictionaries(st.integers(0, 4), some_volumes, min_size=1, max_size=2)
lives = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(("before", "after"))), max_size=40)


async def until_answered(namespace: Shelves, left: Lives) -> bool:
    """Whether the request was taken off; each life ends at one of its writes while there are any left."""
    for _ in range(150):
        namespace.turn()
        try:
            await service(namespace, DieAt(*left.pop()) if left else DieAt()).reconcile(KEY)
        except Killed:
            continue
        if not await namespace.asked():
            return True
    return False


async def walk(lost: dict[int, tuple[int, ...]], left: Lives) -> None:
    namespace = await shelved(nodes=5)
    for node, volumes in lost.items():
        for volume in volumes:
            namespace.drop(node, volume)
    wanted: list[str] = []
    for node, volumes in lost.items():
        await namespace.ask_replacement(str(node))
        assert await until_answered(namespace, left), await namespace.status()
        wanted += [f"data-{volume}-cell-nodes-{node}" for volume in volumes]
        assert sorted(namespace.formatted[10:]) == sorted(wanted)
        assert namespace.harms == []
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]
    assert namespace.kafka.up == {0, 1, 2, 3, 4}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(losses, lives)
def test_lost_claims_are_replaced_under_kills(lost: dict[int, tuple[int, ...]], left: Lives) -> None:
    asyncio.run(walk(lost, list(left)))
