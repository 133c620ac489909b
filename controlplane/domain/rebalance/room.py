"""Room on brokers while replicas move: until a partition has arrived, both its old and its new replica are there. Pure.

What a broker gets in a batch has to fit beside all that it holds when the batch begins, since nothing that it gives up
in the batch need be gone before. The way back of a batch needs no more than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from controlplane.domain.check import Check
from controlplane.domain.rebalance.capacity import gib


def held(replicas: Iterable[tuple[Sequence[int], int]]) -> Counter[int]:
    """Bytes by broker; `replicas` are the brokers of each partition, and the size of one replica."""
    found: Counter[int] = Counter()
    for brokers, size in replicas:
        for broker in brokers:
            found[broker] += size
    return found


def free(holds: Mapping[int, int], capacities: Mapping[int, int]) -> dict[int, int]:
    """By broker of which it is known; less than nothing where a broker holds too much already."""
    return {broker: capacity - holds.get(broker, 0) for broker, capacity in capacities.items()}


def too_full(gets: Mapping[int, int], left: Mapping[int, int]) -> Check | None:
    """`gets` are bytes that brokers get at once, `left` what they have left. What is empty fits everywhere."""
    over = {
        broker: size - left[broker] for broker, size in sorted(gets.items()) if size and size > left.get(broker, size)
    }
    if not over:
        return None
    broker, most = max(over.items(), key=lambda item: (item[1], -item[0]))
    others = f" (and so do brokers {', '.join(str(one) for one in over if one != broker)})" if len(over) > 1 else ""
    return Check(
        "CapacityShort",
        ok=False,
        evidence=f"Broker {broker} would get {gib(gets[broker])} before it has given up anything, and has "
        f"{gib(max(0, left[broker]))} left: {gib(most)} too much{others}.",
        remedy="Give it a larger disk, shorten retention, or allow fewer moves at the same time "
        "(limits.movesPerBroker).",
    )
