"""Which of the KafkaRebalances that kfleet makes by itself are kept once they have ended, or cannot be planned. Pure.

Who asks for a rebalance by hand deletes it by hand. What is made for a tenant whose shard moves, or for anybody else
who comes again, would stay for ever: of each owner's the newest few are kept, for people to look at. One for which
there is no plan would wait for ever, and be planned again and again: it goes when nobody has a use for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Made:
    """One KafkaRebalance of an owner. `ended_at` is in seconds since the epoch; None: it waits or runs, or somebody has
    still to be told how it ended. `hopeless`: it waits, and there is no plan for it."""

    name: str
    owner: str
    ended_at: float | None
    hopeless: bool = False


def outlived(made: Iterable[Made], keep: int, needed: Collection[str] = ()) -> tuple[str, ...]:
    """Names of those to delete: what is hopeless, and then, oldest first, what has ended but for the `keep` newest of
    each owner; nothing that is `needed` by name, which is among those or not. Deleting them and asking again deletes
    nothing.

    Raises ValueError for a `keep` below 1: who asks again goes by how the last one ended.
    """
    if keep < 1:
        raise ValueError("the newest is always kept")
    ended: dict[str, list[tuple[float, str]]] = defaultdict(list)
    hopeless: list[str] = []
    for one in made:
        if one.hopeless:
            hopeless.append(one.name)
        elif one.ended_at is not None:
            ended[one.owner].append((one.ended_at, one.name))
    old = [one for found in ended.values() for one in sorted(found)[:-keep]]
    names = (*sorted(hopeless), *(name for _, name in sorted(old)))
    return tuple(name for name in names if name not in needed)
