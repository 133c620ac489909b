"""Fewest classes of things of which some must not be together: bounded colouring of a graph with crowds. Pure.

Things are numbered from 0, sets of them are bitsets (bit v stands for thing v). It is NP-hard, so the answer carries
what is proven: `lower_bound` holds always, and where it equals the number of classes these are the fewest.

Found by DSATUR (Brelaz 1979) with a capacity, then by iterated greedy (Culberson 1992: first-fit over the classes of
a colouring, in any order of the classes, never needs more of them; it holds for every hereditary rule, so for crowds
and capacity too), then by exact search where there are few things. Bounds: things by capacity, the largest clique,
and things by the largest set that could be one class. Searches stop after a number of steps, not of seconds, so that
the same question has the same answer on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

GREEDY_ROUNDS = 60
SEARCH_STEPS = 2000
"""Steps of one search; about a quarter of a second for a hundred things."""
SEARCHED_THINGS = 48
"""Exact search is tried up to this many; with more its steps run out before it can prove anything."""
BOUNDED_THINGS = 500
"""The bound by the largest possible class is tried up to this many: its search is as deep as that class is large."""


@dataclass(frozen=True)
class Conflicts:
    """`adjacent[v]` are the things that v must not be with. A class holds at most `capacity` things, and of the things
    of each crowd (a bitset) at most its number."""

    capacity: int
    adjacent: tuple[int, ...]
    crowds: tuple[tuple[int, int], ...] = ()

    @cached_property
    def crowds_of(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        return tuple(
            tuple(crowd for crowd in self.crowds if crowd[0] >> thing & 1) for thing in range(len(self.adjacent))
        )

    def fits(self, members: int, thing: int) -> bool:
        """Whether `thing` may join a class that is itself allowed."""
        if members & self.adjacent[thing] or members.bit_count() >= self.capacity:
            return False
        return all((members & crowd).bit_count() < most for crowd, most in self.crowds_of[thing])


@dataclass(frozen=True, slots=True)
class Colouring:
    """`classes` are bitsets that cover every thing once; no colouring has fewer than `lower_bound` of them."""

    classes: tuple[int, ...]
    lower_bound: int


def colour(conflicts: Conflicts) -> Colouring:
    """Few classes, and a number below which none can be."""
    count = len(conflicts.adjacent)
    if not count:
        return Colouring((), 0)
    lower = -(-count // conflicts.capacity)
    best = _saturated(conflicts)
    if len(best) > lower:
        lower = max(lower, _clique(conflicts.adjacent))
    if len(best) > lower:
        best = _again(conflicts, best, lower)
    if len(best) > lower and count <= BOUNDED_THINGS:
        lower = max(lower, _by_largest_class(conflicts))
    if len(best) > lower and count <= SEARCHED_THINGS:
        best, proven = _Search(conflicts, best, lower).run()
        lower = len(best) if proven else lower
    return Colouring(tuple(best), lower)


def things(members: int) -> Iterator[int]:
    """The things of a bitset, lowest first."""
    while members:
        yield (members & -members).bit_length() - 1
        members &= members - 1


def _greedy(conflicts: Conflicts, order: Sequence[int]) -> list[int]:
    """First fit."""
    classes: list[int] = []
    for thing in order:
        _place_first(conflicts, classes, thing)
    return classes


def _place_first(conflicts: Conflicts, classes: list[int], thing: int) -> int:
    """Puts it into the first class that takes it, or a new one; which that is."""
    place = next((at for at, members in enumerate(classes) if conflicts.fits(members, thing)), len(classes))
    if place == len(classes):
        classes.append(0)
    classes[place] |= 1 << thing
    return place


def _saturated(conflicts: Conflicts) -> list[int]:
    """DSATUR: the thing that can join fewest classes next, then most conflicts, then lowest number; first fit."""
    left = set(range(len(conflicts.adjacent)))
    closed = dict.fromkeys(left, 0)
    classes: list[int] = []
    degree = [mask.bit_count() for mask in conflicts.adjacent]
    while left:
        thing = max(left, key=lambda v: (closed[v].bit_count(), degree[v], -v))
        left.remove(thing)
        place = _place_first(conflicts, classes, thing)
        bit = 1 << place
        if classes[place].bit_count() >= conflicts.capacity:
            for other in left:
                closed[other] |= bit
        else:
            for other in left:
                if not closed[other] & bit and not conflicts.fits(classes[place], other):
                    closed[other] |= bit
    return classes


def _again(conflicts: Conflicts, classes: list[int], lower: int) -> list[int]:
    """Iterated greedy: largest classes first, smallest first, reversed, shuffled. Never more classes than before."""
    rng = Random(0)  # noqa: S311 - not a secret: a fixed order that looks like none
    best = classes
    for number in range(GREEDY_ROUNDS):
        turn = list(best)
        match number % 4:
            case 0:
                turn.sort(key=int.bit_count, reverse=True)
            case 1:
                turn.reverse()
            case 2:
                rng.shuffle(turn)
            case _:
                turn.sort(key=int.bit_count)
        best = _greedy(conflicts, [thing for members in turn for thing in things(members)])
        if len(best) <= lower:
            break
    return best


def _clique(adjacent: Sequence[int]) -> int:
    """A number of things of which no two may be together: each needs a class of its own."""
    everything = (1 << len(adjacent)) - 1
    apart = [everything & ~mask & ~(1 << thing) for thing, mask in enumerate(adjacent)]
    return _largest_apart(apart, len(adjacent))[0]


def _by_largest_class(conflicts: Conflicts) -> int:
    """Things divided by the most that one class can hold, if the search for that ends."""
    size, proven = _largest_apart(conflicts.adjacent, conflicts.capacity)
    return -(-len(conflicts.adjacent) // size) if proven else 0


def _largest_apart(adjacent: Sequence[int], enough: int) -> tuple[int, bool]:
    """(the size of a set without conflicts, whether none is larger, or it is `enough`).

    Branch and bound with a greedy clique cover as its bound (Tomita, San Segundo, turned round).
    """
    best, steps = 0, 0

    def expand(candidates: int, size: int) -> bool:
        nonlocal best, steps
        steps += 1
        if steps > SEARCH_STEPS:
            return False
        best = max(best, size)
        order: list[tuple[int, int]] = []
        cover, left = 0, candidates
        while left:
            cover += 1
            clique = left
            while clique:
                thing = (clique & -clique).bit_length() - 1
                order.append((thing, cover))
                left ^= 1 << thing
                clique &= adjacent[thing]
        for thing, bound in reversed(order):
            if best >= enough or size + bound <= best:
                return True
            if not expand(candidates & ~adjacent[thing] & ~(1 << thing), size + 1):
                return False
            candidates ^= 1 << thing
        return True

    proven = expand((1 << len(adjacent)) - 1, 0)
    return min(best, enough), proven or best >= enough


class _Search:
    """Exact: the thing with the fewest places left next, each of them tried, then a class of its own."""

    def __init__(self, conflicts: Conflicts, best: list[int], lower: int) -> None:
        self.conflicts, self.best, self.lower, self.steps = conflicts, best, lower, 0

    def run(self) -> tuple[list[int], bool]:
        """(the best found, whether there is none better)."""
        proven = self._place([], (1 << len(self.conflicts.adjacent)) - 1)
        return self.best, proven

    def _place(self, classes: list[int], left: int) -> bool:
        """False when the steps have run out."""
        self.steps += 1
        if self.steps > SEARCH_STEPS:
            return False
        if not left:
            self.best = list(classes)
            return True
        room = sum(self.conflicts.capacity - members.bit_count() for members in classes)
        more = max(0, -(-(left.bit_count() - room) // self.conflicts.capacity))
        if len(classes) + more >= len(self.best):
            return True
        places = {
            thing: [at for at, members in enumerate(classes) if self.conflicts.fits(members, thing)]
            for thing in things(left)
        }
        thing = min(places, key=lambda v: (len(places[v]), -self.conflicts.adjacent[v].bit_count()))
        bit = 1 << thing
        for at in places[thing]:
            classes[at] |= bit
            ended = self._place(classes, left ^ bit)
            classes[at] ^= bit
            if not ended or len(self.best) <= self.lower:
                return ended
        if len(classes) + 1 >= len(self.best):
            return True
        classes.append(bit)
        ended = self._place(classes, left ^ bit)
        classes.pop()
        return ended
