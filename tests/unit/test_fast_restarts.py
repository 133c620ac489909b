"""A controller that is restarted within the window of DescribeQuorum: the leader still shows the fetch of the process
that has ended. Nobody else is stopped before the new one has fetched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.simulation import KEY, Namespace, service

from controlplane.api.conditions import timestamp
from controlplane.domain.cluster.observe import BELIEVED_SECONDS, observe_nodes, of_running_processes
from controlplane.domain.observation import (
    NodeObservation,
    PodObservation,
    QuorumObservation,
    Role,
    VoterObservation,
)

FETCHES_AFTER = 4.0
"""Seconds from the start of its process to its first fetch; its pod is ready before."""
AT = 1_700_000_000.0


class FastRestarts(Namespace):
    """Pods whose processes come up in no time and fetch later. `behind` is who had not fetched when one was deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: dict[int, tuple[str, float]] = {}
        self.behind: list[set[int]] = []

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        super()._run(pod, node, has_peers=has_peers)
        if self.starts.get(node, ("", 0.0))[0] != pod["metadata"]["uid"]:
            self.starts[node] = pod["metadata"]["uid"], self.clock.now()
            self.kafka.fetched[node] = self.clock.now()
        since = self.starts[node][1]
        running = {"running": {"startedAt": timestamp(since)}}
        pod["status"]["containerStatuses"] = [{"name": "kafka", "restartCount": 0, "state": running}]
        if self.clock.now() >= since + FETCHES_AFTER:
            self.kafka.fetched[node] = self.clock.now()

    def before(self, call: str) -> None:
        if call.startswith("delete pods"):
            self.behind.append({n for n, (_, since) in self.starts.items() if self.kafka.fetched[n] <= since})

    def after(self, _: str) -> None:
        """Nothing to note."""


async def test_nobody_is_stopped_before_a_controller_that_is_back_has_fetched() -> None:
    namespace = FastRestarts()
    await namespace.declare(rollout={"soak": "2s"})
    one = service(namespace, namespace)
    for _ in range(200):
        namespace.turn()
        await one.reconcile(KEY)
        if await namespace.ready() and (await namespace.status()).get("metadataVersion") == "4.3-IV0":
            break
        if await namespace.ready():
            await namespace.change(version="4.3.1")
    assert len(namespace.behind) == 3, "each was restarted once"
    assert namespace.behind == [set(), set(), set()]


def quorum(**changes: Any) -> QuorumObservation:
    voters = tuple(VoterObservation(node, f"d{node}", 9, 0, caught_up=True, caught_up_at=AT) for node in (0, 1, 2))
    return replace(QuorumObservation(AT + 0.5, 0, 1, voters), **changes)


def node(number: int, started_at: float | None) -> NodeObservation:
    pod = PodObservation(
        "p", "u", "1", "", "4.2.0", None, None, scheduled=True, ready=True, terminating=False, started_at=started_at
    )
    return NodeObservation(number, "all", frozenset({Role.CONTROLLER}), pod)


@pytest.mark.parametrize(
    ("started", "as_of", "believed"),
    [
        (AT - 1, AT + 0.5, True),
        (AT - 0.9, AT + 0.5, False),  # its start is cut to whole seconds
        (AT + 1, AT + 1.5, False),
        (None, AT + 0.5, True),
        # The leader's clock is far behind: it does not matter for ever.
        (AT + 100, AT + 100 + BELIEVED_SECONDS - 1, False),
        (AT + 100, AT + 100 + BELIEVED_SECONDS, True),
    ],
)
def test_a_voter_is_believed_by_what_its_process_fetched(
    *, started: float | None, as_of: float, believed: bool
) -> None:
    seen = of_running_processes(quorum(as_of=as_of), [node(1, started), node(2, AT - 50)])
    assert [voter.caught_up for voter in seen.voters] == [True, believed, True]


def test_the_leader_need_not_fetch_and_who_is_behind_stays_so() -> None:
    seen = of_running_processes(quorum(leader=1), [node(1, AT + 1)])
    assert [voter.caught_up for voter in seen.voters] == [True, True, True]
    behind = quorum(voters=(VoterObservation(1, "d1", 9, 4, caught_up=False, caught_up_at=AT),))
    assert [voter.caught_up for voter in of_running_processes(behind, [node(1, AT - 50)]).voters] == [False]


def test_the_start_is_that_of_kafka() -> None:
    labels = {"kfleet.dev/node-id": "1"}
    running = [
        {"name": "proxy", "state": {"running": {"startedAt": "2026-01-01T00:00:09Z"}}},
        {"name": "kafka", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}},
    ]
    pod = {
        "metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "labels": labels},
        "status": {"containerStatuses": running},
    }
    (seen,) = observe_nodes([pod], [])
    assert seen.pod is not None
    assert seen.pod.started_at == 1_767_225_605.0
    running[1]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    (seen,) = observe_nodes([pod], [])
    assert seen.pod is not None
    assert seen.pod.started_at is None
