"""An upgrade that goes wrong anywhere, with an operator that is killed anywhere: it ends in one of two places.

Which node falls ill on the new version and when is drawn, as are the writes at which the operator dies. Either no fault
lasted, and every node runs the new version; or every node is back on the old one, no node was restarted more than once
for each of the two targets, and never was a second node down through our action. A node that falls ill between the
intent to finalise and its outcome is waited for: whether there is a way back cannot be known then.
"""

from __future__ import annotations

import asyncio
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from property.model import ModelCluster
from property.strategies import Shape
from support.ill_cell import NEW, OLD, IllNamespace, Rollout, nobody, on_old
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.api import names
from controlplane.domain.rolling.planner import plan_roll
from controlplane.domain.rolling.values import Done, NodeTarget, RollProgress, RollTarget, StopNode

PASSES = 140
SOAK = "20s"


def serving(namespace: IllNamespace) -> set[int]:
    """Nodes that are up and stay up."""
    pods = [obj["metadata"] for (plural, _, _), obj in namespace.kube.objects.items() if plural == "pods"]
    return {int(pod["labels"][names.NODE_ID]) for pod in pods if "deletionTimestamp" not in pod} & namespace.kafka.up


async def play(seed: int) -> tuple[IllNamespace, int]:
    """One life of an operator after another, each killed at one of its first writes or not at all. With the number of
    passes that stopped a node that was up while another was not."""
    rng = Random(seed)
    namespace = await on_old(Rollout(soak=SOAK))
    await namespace.change(version=NEW)
    culprit, begins, ends = rng.randrange(3), rng.randrange(60), rng.choice((2, 1000, 1000))
    engine, harms = service(namespace, DieAt()), 0
    for number in range(PASSES):
        lasts = begins <= number < begins + ends
        namespace.ill = lambda node, version, lasts=lasts: lasts and node == culprit and version == NEW  # type: ignore[misc]
        namespace.turn()
        before = serving(namespace)
        try:
            await engine.reconcile(KEY)
        except Killed:
            engine = service(namespace, DieAt())
            continue
        finally:
            harms += len(before) < 3 and not before <= serving(namespace)
        if rng.random() < 0.5:
            engine = service(namespace, DieAt(rng.randint(1, 3), rng.choice(("before", "after"))))
    return namespace, harms


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
@example(2181)
@example(1076)
def test_it_ends_on_one_version_whatever_happens(seed: int) -> None:
    namespace, harms = asyncio.run(play(seed))
    status = asyncio.run(namespace.status())
    if status.get("operation", {}).get("step", {}).get("parameters", {}).get("watched") == "Over":
        assert "rolledBack" not in status
        namespace.ill = nobody
        asyncio.run(run_until_ready(namespace, DieAt()))
        asyncio.run(namespace.passes(2))
        status = asyncio.run(namespace.status())
    pods = [len(uids) for uids in namespace.uids.values()]
    assert "operation" not in status
    assert len(set(namespace.running())) == 1
    assert harms == 0
    if namespace.running() == [NEW] * 3:
        assert status["lastOperation"]["outcome"] == "Succeeded"
        assert namespace.kafka.features["metadata.version"] == 30
        assert pods == [2, 2, 2]
    else:
        assert namespace.running() == [OLD] * 3
        assert status["lastOperation"]["outcome"] == "RolledBack"
        assert namespace.kafka.features["metadata.version"] == 29
        assert set(pods) <= {1, 3}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from((Shape((10, 11, 12), (0, 1, 2)), Shape((0, 1, 2), (0, 1, 2, 3)))), st.integers(0, 2**32))
def test_on_the_way_back_brokers_go_before_controllers_and_harm_nobody(shape: Shape, seed: int) -> None:
    cluster = ModelCluster.healthy(shape, Random(seed))
    target = RollTarget("back", tuple(NodeTarget(node, "before", OLD) for node in shape.ids), back=True)
    progress, stops, active = RollProgress("roll-1", ""), [], []
    for _ in range(600):
        transition = plan_roll(cluster.observe(), target, progress)
        progress = transition.progress
        if isinstance(transition.action, StopNode):
            stops.append(transition.action.node)
            active.append(cluster.active == transition.action.node)
        if isinstance(transition.action, Done):
            break
        cluster.act(transition.action, target)
        cluster.tick()
    assert cluster.harms == []
    assert sorted(stops) == list(shape.ids)
    kinds = [node in shape.controllers for node in stops]
    assert kinds == sorted(kinds), "brokers, then controllers"
    assert not any(active[:-1]), "the active controller last"
