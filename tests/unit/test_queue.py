import asyncio
from collections.abc import Callable

from controlplane.services.queue import Key, WorkQueue


class Passes:
    """Records what runs at the same time."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running: set[str] = set()
        self.overlaps: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: set[str] = set()
        self.again: dict[str, float | None] = {}

    async def __call__(self, key: Key) -> float | None:
        for other in self.running:
            if other.split(" ")[1] == key.cell:
                self.overlaps.append((other, str(key)))
        self.running.add(str(key))
        self.order.append(str(key))
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if str(key) in self.fail:
                self.fail.discard(str(key))
                raise RuntimeError("planted failure")
            return self.again.pop(str(key), None)
        finally:
            self.running.discard(str(key))


async def run_until(queue: WorkQueue, condition: Callable[[], bool]) -> None:
    task = asyncio.create_task(queue.run())
    try:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.005)
    finally:
        task.cancel()


def make(passes: Passes) -> WorkQueue:
    return WorkQueue(passes, workers=4, retry_min=0.01, retry_max=0.02)


CLUSTER = Key("KafkaCluster", "kafka", "orders")
TOPICS = Key("KafkaTopics", "kafka", "orders")
OTHER = Key("KafkaCluster", "other", "orders")


async def test_a_key_added_twice_while_it_waits_runs_once() -> None:
    passes = Passes()
    queue = make(passes)
    queue.add(CLUSTER)
    queue.add(CLUSTER, 5)
    queue.add(OTHER)
    await run_until(queue, lambda: len(queue) == 0)
    assert sorted(passes.order) == [str(CLUSTER), str(OTHER)]


async def test_a_key_added_while_it_runs_runs_again_afterwards() -> None:
    passes = Passes()
    queue = make(passes)
    passes.gate.clear()
    queue.add(CLUSTER)

    async def add_during() -> None:
        while not passes.running:
            await asyncio.sleep(0.001)
        queue.add(CLUSTER)
        passes.gate.set()

    helper = asyncio.create_task(add_during())
    await run_until(queue, lambda: len(passes.order) == 2 and len(queue) == 0)
    await helper
    assert passes.overlaps == []


async def test_keys_of_one_cell_never_overlap_and_other_cells_do_not_wait() -> None:
    passes = Passes()
    queue = make(passes)
    passes.gate.clear()
    queue.add(CLUSTER)
    queue.add(TOPICS)
    queue.add(OTHER)

    async def open_later() -> None:
        while len(passes.running) < 2:
            await asyncio.sleep(0.001)
        passes.gate.set()

    helper = asyncio.create_task(open_later())
    await run_until(queue, lambda: len(passes.order) == 3 and len(queue) == 0)
    await helper
    assert passes.overlaps == []


async def test_a_failed_pass_is_tried_again() -> None:
    passes = Passes()
    queue = make(passes)
    passes.fail.add(str(CLUSTER))
    queue.add(CLUSTER)
    await run_until(queue, lambda: len(passes.order) == 2 and len(queue) == 0)
    assert passes.order == [str(CLUSTER)] * 2


async def test_a_pass_says_when_it_wants_the_next_one() -> None:
    passes = Passes()
    queue = make(passes)
    passes.again[str(CLUSTER)] = 0.01
    queue.add(CLUSTER)
    await run_until(queue, lambda: len(passes.order) == 2 and len(queue) == 0)
