"""A broker that was frozen and wakes: what it tells first is as old as its freeze; a moment later it has caught up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.adapters.kafka.admin import LAGGING, KafkaPythonAdmin
from controlplane.ports import KafkaError

ADDRESS = "127.0.0.1:9092"
FROZEN_MS = 10_000
NOW_MS = 1_800_000_000_000


class Waking:
    """Answers in order, as one connection's requests are; `awake_after` answers it has fetched what it missed."""

    address = ADDRESS
    milliseconds_left = 1000

    def __init__(self, awake_after: int, *, forgotten: bool = False) -> None:
        """`forgotten`: so long ago that the controllers do not list it."""
        self._awake_after, self._forgotten = awake_after, forgotten
        self._answered = 0
        self.asked_for_metadata = False

    async def start(self, request: Any) -> Any:
        lagging = self._answered < self._awake_after
        self._answered += 1
        match type(request).__name__:
            case "MetadataRequest":
                self.asked_for_metadata = True
                broker = SimpleNamespace(node_id=4, rack=None, host="127.0.0.1", port=9092)
                return SimpleNamespace(error_code=0, cluster_id="c", brokers=[broker], topics=[])
            case "DescribeQuorumRequest":
                return _quorum(lagging=lagging, forgotten=lagging and self._forgotten)
            case "ListPartitionReassignmentsRequest":
                return SimpleNamespace(error_code=0, error_message=None, topics=[])
            case "ApiVersionsRequest":
                return SimpleNamespace(error_code=0, finalized_features=[])
            case _:
                return SimpleNamespace(results=[])

    send = start


def _quorum(*, lagging: bool, forgotten: bool) -> Any:
    def state(node: int, caught_up: int) -> Any:
        directory = "00000000-0000-0000-0000-000000000001"
        return SimpleNamespace(
            replica_id=node, replica_directory_id=directory, log_end_offset=7, last_caught_up_timestamp=caught_up
        )

    partition = SimpleNamespace(
        error_code=0,
        error_message=None,
        leader_id=0,
        leader_epoch=1,
        current_voters=[state(0, NOW_MS)],
        observers=[] if forgotten else [state(4, NOW_MS - FROZEN_MS if lagging else NOW_MS)],
    )
    topic = SimpleNamespace(partitions=[partition])
    return SimpleNamespace(error_code=0, error_message=None, topics=[topic])


class Direct:
    """Connections to one broker."""

    def __init__(self, broker: Waking) -> None:
        self._broker = broker

    async def read(self, question: Any, seconds: float) -> Any:
        return await question(self._broker)


@pytest.mark.parametrize("question", ["observe", "settings"])
@pytest.mark.parametrize("awake_after", range(1, 4))
@pytest.mark.parametrize("forgotten", [False, True])
async def test_what_was_told_before_it_caught_up_is_not_believed(
    question: str, awake_after: int, *, forgotten: bool
) -> None:
    with pytest.raises(KafkaError) as refused:
        await ask(Waking(awake_after, forgotten=forgotten), question)
    assert refused.value.code == LAGGING


@pytest.mark.parametrize("question", ["observe", "settings"])
async def test_the_control_one_that_was_never_frozen_is_believed(question: str) -> None:
    broker = Waking(0)
    await ask(broker, question)
    assert broker.asked_for_metadata


async def ask(broker: Waking, question: str) -> None:
    admin = KafkaPythonAdmin(Direct(broker), timeout=1.0, voter_caught_up_seconds=2.0)  # type: ignore[arg-type]
    await (admin.observe() if question == "observe" else admin.settings([]))
