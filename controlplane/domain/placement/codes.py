"""The largest family known here of shards with one broker in each of some zones, any two sharing at most t brokers.

Places are numbered zone after zone. With zones of one size these are the codes of `arrays`. For uneven zones a code
over more symbols than the smaller zones have is cut to them: words that use a symbol which a zone has not got are left
out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, product
from operator import add, lt

from controlplane.domain.placement import arrays
from controlplane.domain.placement.array_data import LATIN_6
from controlplane.domain.placement.arrays import Array, Word
from controlplane.domain.placement.fields import next_prime_power
from controlplane.domain.placement.growing import FILLED, LISTED, NEVER, Family, always_level, filled, listed
from controlplane.domain.placement.values import Shard


@lru_cache(maxsize=1024)
def largest_code(sizes: tuple[int, ...], overlap: int) -> tuple[Family, ...]:
    """The largest family, `overlap` < len(sizes); several of the same size where each is level for other numbers of
    shards."""
    if sizes == (6, 6, 6) and overlap == 1:
        return tuple(_latin_six())
    bound = math.prod(sorted(sizes)[: overlap + 1])
    found = Family("nothing", -1, tuple)
    for family in _candidates(sizes, overlap):
        found = max(found, family, key=_worth)
        if found.count == bound:
            break
    if overlap and found.count <= math.prod(sorted(sizes)[:overlap]):  # more there cannot be that share less
        found = max(found, *largest_code(sizes, overlap - 1), key=_worth)
    if math.prod(sizes) <= FILLED and found.count < bound:
        found = filled(found, (_shard(word, sizes) for word in product(*map(range, sizes))), overlap)
    return (found,)


def _worth(family: Family) -> tuple[int, bool]:
    return family.count, bool(family.level)


def _shard(word: Word, sizes: tuple[int, ...]) -> Shard:
    return tuple(map(add, _starts(sizes), word))


@lru_cache(maxsize=64)
def _starts(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(accumulate(sizes[:-1], initial=0))


def _candidates(sizes: tuple[int, ...], overlap: int) -> Iterator[Family]:
    even, places = len(set(sizes)) == 1, len(sizes)
    symbols = {min(sizes), max(sizes), next_prime_power(max(min(sizes), places - 1)), next_prime_power(max(sizes))}
    # Of equally many, the first are taken: those that use every broker of an uneven zone.
    for order in sorted(symbols, key=lambda order: (order < max(sizes), order)):
        if (code := _even_code(places, order, overlap)) is not None:
            if order == min(sizes):
                yield _family(code, sizes, always_level(code.count) if even and code.level else NEVER)
            elif code.count <= LISTED:
                yield _cut(code, sizes, order)
    if places == overlap + 1 and not even:
        count = math.prod(sizes)
        yield Family("all combinations", count, lambda: (_shard(word, sizes) for word in product(*map(range, sizes))))
    if places == overlap + 2 and not even:
        yield _least_free(sizes)


def _even_code(places: int, symbols: int, overlap: int) -> Array | None:
    """symbols^(overlap+1) words, in classes where that can be had."""
    if overlap == 0 or symbols == 1:
        return arrays.diagonal(places, symbols)
    if places == overlap + 1:
        return arrays.all_words(places, symbols)
    found = [arrays.transversal(places, symbols) if overlap == 1 else arrays.polynomials(places, symbols, overlap)]
    if places == overlap + 2:
        found.append(arrays.zero_sum(places, symbols))
    known = [array for array in found if array is not None]
    return next((array for array in known if array.level), known[0] if known else None)


def _family(code: Array, sizes: tuple[int, ...], level: range) -> Family:
    return Family(code.name, code.count, lambda: (_shard(word, sizes) for word in code.words()), level)


def _cut(code: Array, sizes: tuple[int, ...], order: int) -> Family:
    """Words of a code over `order` symbols that need none of the first order - n in a zone of n: constant words, of
    which many codes have one for each symbol, make what is lost overlap."""
    lost = [order - size for size in sizes]
    moves = [start - less for start, less in zip(_starts(sizes), lost, strict=True)]
    return listed(
        f"{code.name}, cut to the zones",
        [tuple(map(add, word, moves)) for word in code.words() if not any(map(lt, word, lost))],
    )


def _least_free(sizes: tuple[int, ...]) -> Family:
    """All combinations in all zones but the largest, which takes their sum modulo its size: as many as Singleton's
    bound."""
    last = max(range(len(sizes)), key=lambda zone: sizes[zone])
    others = [size for zone, size in enumerate(sizes) if zone != last]

    def shards() -> Iterator[Shard]:
        for free in product(*map(range, others)):
            yield _shard((*free[:last], sum(free) % sizes[last], *free[last:]), sizes)

    return Family(f"sum modulo {sizes[last]}", math.prod(others), shards)


def _latin_six() -> Iterator[Family]:
    """Four classes first, or last: one order is level for few shards, the other for many."""
    *classes, rest = LATIN_6
    for name, order, level in (
        ("classes first", [*classes, rest], range(25)),
        ("classes last", [rest, *classes], range(12, 37)),
    ):
        shards = tuple(_shard(word, (6, 6, 6)) for words in order for word in words)
        yield listed(f"Latin square of order 6, {name}", shards, level)
