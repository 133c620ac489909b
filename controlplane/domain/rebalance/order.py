"""The order of a partition's replicas after a plan, and who of them leads. Pure.

The first replica is the preferred leader. A leader that keeps its replica keeps leading, but where topics move to other
brokers; otherwise the one of the partition's new replicas leads whose broker leads least. That moves no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.proposal import PartitionMove
from controlplane.domain.rebalance.values import Broker, Partition


def arranged(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """`after` in an order as near to `before` as it can be: what stays keeps its place, what comes takes the places
    of what goes."""
    coming = sorted(set(after) - set(before))
    stay = set(after)
    found: list[int] = []
    for broker in before:
        if broker in stay:
            found.append(broker)
        elif coming:
            found.append(coming.pop(0))
    return found + coming


def led(
    partitions: Sequence[Partition],
    changed: Mapping[TopicPartition, Sequence[int]],
    brokers: Sequence[Broker],
    *,
    keep_leaders: bool = True,
) -> list[PartitionMove]:
    """The moves of partitions to the brokers (ids) in `changed`, in order, with leaders spread by weight: of partitions
    that lose theirs, or (not `keep_leaders`) of all that move."""
    weight = {broker.id: broker.weight for broker in brokers}
    leads = dict.fromkeys(weight, 0)
    open_ones: dict[TopicPartition, list[int]] = {}
    for partition in partitions:
        now = changed.get(partition.id)
        after = list(partition.replicas) if now is None else arranged(partition.replicas, now)
        if partition.replicas[0] in after and (keep_leaders or now is None):
            if after[0] in leads:
                leads[after[0]] += 1
        else:
            open_ones[partition.id] = after
    chosen: dict[TopicPartition, int] = {}
    for _ in range(_ROUNDS):
        before = dict(chosen)
        for name, after in open_ones.items():
            if name in chosen:
                leads[chosen[name]] -= 1
            chosen[name] = min(after, key=lambda one: ((leads[one] + 1) / weight[one], one != chosen.get(name), one))
            leads[chosen[name]] += 1
        if chosen == before:
            break
    moves = []
    for partition in partitions:
        if (now := changed.get(partition.id)) is None:
            continue
        after = arranged(partition.replicas, now)
        if (leader := chosen.get(partition.id)) is not None:
            after = [leader, *(one for one in after if one != leader)]
        moves.append(
            PartitionMove(partition.topic, partition.partition, partition.replicas, tuple(after), partition.size)
        )
    return moves


_ROUNDS = 8
