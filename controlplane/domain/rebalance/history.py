"""Which of the KafkaRebalances that kfleet makes by itself are kept once they have ended. Pure.

Who asks for a rebalance by hand deletes it by hand. What is made for a tenant whose shard moves, or for anybody else
who comes again, would stay for ever: of each owner's the newest few are kept, for people to look at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Made:
    """One KafkaRebalance of an owner. `ended_at` is in seconds since the epoch; None: it waits or runs, or somebody has
    still to be told how it ended."""

    name: str
    owner: str
    ended_at: float | None


def outlived(made: Iterable[Made], keep: int, needed: Collection[str] = ()) -> tuple[str, ...]:
    """Names of those to delete, oldest first: what has ended, but for the `keep` newest of each owner and for what is
    `needed` by name, which is among those or not. Deleting them and asking again deletes nothing.

    Raises ValueError for a `keep` below 1: who asks again goes by how the last one ended.
    """
    if keep < 1:
        raise ValueError("the newest is always kept")
    ended: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for one in made:
        if one.ended_at is not None:
            ended[one.owner].append((one.ended_at, one.name))
    old = [one for found in ended.values() for one in sorted(found)[:-keep]]
    return tuple(name for _, name in sorted(old) if name not in needed)
