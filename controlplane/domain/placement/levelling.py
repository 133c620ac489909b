"""Choosing from a family, and moving places until every broker carries its share. Overlap allowed is never exceeded by
it.

What is made small is the sum over brokers of load^2 / weight: without weights it is least exactly when all loads are
alike within one. The same sum decides how many brokers two tenants share on average: the pairs that meet at a broker
of load l are l(l-1)/2, so that level loads are also the least overlap one can expect.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from random import Random

from controlplane.domain.placement.growing import mask, narrow, parts
from controlplane.domain.placement.values import Shard, ZoneShape

CAREFUL = 20_000
"""Families of up to this many shards are chosen from shard by shard."""
LOOKS = 20_000_000
"""And where so many looks at a shard are enough: each that is chosen makes those dearer that share a place with it."""
STEPS = 20_000
"""Sideways moves tried at most, where plain improvement has ended; counted, so that every machine finds the same."""
SLACK = 1e-9
"""Differences below this are none: weights are fractions."""
SMALL = 4_000
"""Sideways moves are tried where all shards have up to this many places together."""


def careful(shards: int, want: int, size: int, places: int) -> bool:
    """Whether a family is chosen from shard by shard."""
    return shards <= CAREFUL and shards * min(want, shards) * min(1, size**2 / places) <= LOOKS


def choose(shards: Iterable[Shard], want: int, weights: Sequence[float], zones: Sequence[ZoneShape]) -> list[Shard]:
    """`want` of them in an order that uses places alike: always next the one whose places carry least, the earliest of
    these."""
    listed = list(shards)
    if listed and not careful(len(listed), want, len(listed[0]), len(weights)):
        return _choose_roughly(listed, want, weights, zones)
    load = [0] * len(weights)

    def cost(at: int) -> float:
        return sum((2 * load[place] + 1) / weights[place] for place in listed[at])

    queue = [(cost(at), at) for at in range(len(listed))]
    heapq.heapify(queue)
    chosen: list[Shard] = []
    while queue and len(chosen) < want:
        known, at = heapq.heappop(queue)
        now = cost(at)
        if now > known:  # loads only grow, so what was cheapest before can only have become dearer
            heapq.heappush(queue, (now, at))
            continue
        chosen.append(listed[at])
        for place in listed[at]:
            load[place] += 1
    return chosen


def _choose_roughly(
    shards: list[Shard], want: int, weights: Sequence[float], zones: Sequence[ZoneShape]
) -> list[Shard]:
    """In one pass for each of two orders, theirs and a shuffled one: what fits under everybody's share, then the rest.
    The order that ends more level."""
    shuffled = list(shards)
    Random(0).shuffle(shuffled)  # noqa: S311 - not a secret: a fixed order that looks like none
    shares = [math.ceil(share) for share in _shares(want * len(shards[0]), weights, zones)]
    found = [_under_share(order, want, list(shares)) for order in (shards, shuffled)]
    return min(found, key=lambda chosen: unevenness(chosen, weights))


def _shares(loads: int, weights: Sequence[float], zones: Sequence[ZoneShape]) -> Iterator[float]:
    """What each place would carry of so many loads, by weight: of its zone where each gives a fixed number."""
    fixed = all(zone.least == zone.most for zone in zones)
    start = 0
    for zone in zones:
        mine = weights[start : start + zone.brokers]
        whole = loads * zone.least / sum(other.least for other in zones) if fixed else loads * sum(mine) / sum(weights)
        yield from (whole * weight / sum(mine) for weight in mine)
        start += zone.brokers


def _under_share(shards: list[Shard], want: int, room: list[int]) -> list[Shard]:
    first: list[Shard] = []
    later: list[Shard] = []
    for shard in shards:
        if len(first) < want and all(room[place] > 0 for place in shard):
            first.append(shard)
            for place in shard:
                room[place] -= 1
        else:
            later.append(shard)
    return first + later[: want - len(first)]


def unevenness(shards: Iterable[Shard], weights: Sequence[float]) -> float:
    """What is made small: the sum over places of load^2 / weight."""
    load = Counter(chain.from_iterable(shards))
    return math.fsum(count * count / weights[place] for place, count in sorted(load.items()))


class Leveller:
    """Shards being levelled: places `zone_of` them, what each zone may give, weights, and what no two may share."""

    def __init__(
        self,
        shards: Sequence[Shard],
        zones: Sequence[ZoneShape],
        weights: Sequence[float],
        overlap: int,
        spare: Sequence[Shard] = (),
    ) -> None:
        self.shards, self.spare = list(shards), list(spare)
        self.zones, self.weights, self.overlap = zones, weights, overlap
        self.zone_of = [at for at, zone in enumerate(zones) for _ in range(zone.brokers)]
        free = any(zone.least != zone.most for zone in zones)
        keys = [0 if free else zone for zone in self.zone_of]
        self.groups = [[place for place, key in enumerate(keys) if key == group] for group in dict.fromkeys(keys)]
        self.load = [0] * len(weights)
        self.at: list[dict[int, None]] = [{} for _ in weights]
        for number, shard in enumerate(self.shards):
            for place in shard:
                self.load[place] += 1
                self.at[place][number] = None
        self.bounded = bool(self.shards) and overlap < len(self.shards[0])
        self.narrow = self.bounded and narrow(len(self.shards[0]), overlap)
        self.taken: Counter[Shard] = Counter()
        if self.narrow:
            self.taken.update(chain.from_iterable(parts(shard, overlap) for shard in self.shards))

    def run(self) -> list[Shard]:
        self._improve()
        if not self.level and len(self.shards) * len(self.shards[0] if self.shards else ()) <= SMALL:
            self._wander()
        return self.shards

    @property
    def level(self) -> bool:
        """Whether nothing is left to gain: no load could go to another broker and be better there. Without weights:
        all loads alike within one, in each zone, and between zones where a shard may take more from the one or the
        other."""
        return all(self._gain(self._dearest(places), self._cheapest(places)) < SLACK for places in self.groups)

    def _dearest(self, places: Sequence[int]) -> int:
        return max(places, key=lambda place: (2 * self.load[place] - 1) / self.weights[place])

    def _cheapest(self, places: Sequence[int]) -> int:
        return min(places, key=lambda place: (2 * self.load[place] + 1) / self.weights[place])

    def _unequal(self) -> Iterator[tuple[int, int]]:
        """(from, to): one load less there and one more here would be better. The most unequal pairs first."""
        for places in self.groups:
            high = sorted(places, key=lambda place: (-(2 * self.load[place] - 1) / self.weights[place], place))
            low = sorted(places, key=lambda place: ((2 * self.load[place] + 1) / self.weights[place], place))
            for origin in high:
                for target in low:
                    if self._gain(origin, target) < SLACK:
                        break
                    yield origin, target

    def _gain(self, origin: int, target: int) -> float:
        less = (2 * self.load[origin] - 1) / self.weights[origin]
        return less - (2 * self.load[target] + 1) / self.weights[target]

    def _improve(self) -> None:
        while any(self._move_one(origin, target) for origin, target in self._unequal()):
            pass

    def _move_one(self, origin: int, target: int) -> bool:
        return any(self._try(number, origin, target) for number in list(self.at[origin]))

    def _try(self, number: int, origin: int, target: int) -> bool:
        """One shard takes `target` for `origin`, if zones and overlap allow that."""
        shard = self.shards[number]
        if target in shard or not self._zones_allow(shard, origin, target):
            return False
        moved = tuple(sorted((*(place for place in shard if place != origin), target)))
        if self.bounded and not self.narrow and not self._apart(moved, self.at[target]):
            return False
        if self.narrow:
            new = [part for part in parts(moved, self.overlap) if target in part]
            if any(part in self.taken for part in new):
                return False
            for part in parts(shard, self.overlap):
                if origin in part:
                    del self.taken[part]
            self.taken.update(new)
        self.shards[number] = moved
        self.load[origin] -= 1
        self.load[target] += 1
        del self.at[origin][number]
        self.at[target][number] = None
        return True

    def _apart(self, shard: Shard, others: Iterable[int]) -> bool:
        mine = mask(shard)
        return all((mine & mask(self.shards[other])).bit_count() <= self.overlap for other in others)

    def _zones_allow(self, shard: Shard, origin: int, target: int) -> bool:
        leaves, joins = self.zone_of[origin], self.zone_of[target]
        if leaves == joins:
            return True
        given = Counter(self.zone_of[place] for place in shard)
        return given[leaves] > self.zones[leaves].least and given[joins] < self.zones[joins].most

    def _wander(self) -> None:
        """Moves that make nothing worse, at random from a fixed seed, until one that makes something better is there:
        a shard takes another broker, or a spare shard comes for one of them."""
        rng = Random(0)  # noqa: S311 - not a secret: a fixed order that looks like none
        for step in range(STEPS):
            if step % 2 and self.spare:
                moved = self._exchange(rng.randrange(len(self.shards)), rng.randrange(len(self.spare)))
            else:
                places = self.groups[rng.randrange(len(self.groups))]
                origin, target = rng.choice(places), rng.choice(places)
                if not self.load[origin] or self._gain(origin, target) < -SLACK:
                    continue
                moved = self._try(rng.choice(list(self.at[origin])), origin, target)
            if moved:
                if self.level:
                    return
                self._improve()

    def _exchange(self, number: int, other: int) -> bool:
        """A spare shard instead of this one, if overlap allows it and loads get no worse."""
        old, new = self.shards[number], self.spare[other]
        out, back = set(old) - set(new), set(new) - set(old)
        less = sum((2 * self.load[place] - 1) / self.weights[place] for place in out)
        more = sum((2 * self.load[place] + 1) / self.weights[place] for place in back)
        if not out or less < more - SLACK:
            return False
        if self.bounded and not self.narrow:
            others = (one for one in range(len(self.shards)) if one != number)
            if not self._apart(new, others):
                return False
        if self.narrow:
            own, its = parts(old, self.overlap), parts(new, self.overlap)
            if any(part in self.taken and part not in own for part in its):
                return False
            for part in own:
                del self.taken[part]
            self.taken.update(its)
        self.shards[number], self.spare[other] = new, old
        for place in out:
            self.load[place] -= 1
            del self.at[place][number]
        for place in back:
            self.load[place] += 1
            self.at[place][number] = None
        return True
