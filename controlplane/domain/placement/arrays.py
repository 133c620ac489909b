"""Shards of one broker a zone, the same number of brokers in each: codes. A word is a shard: its symbol at place i is
the broker of zone i, counted from 0. Words agree in as many places as their shards share brokers.

A *class* is g words on g symbols of which no two agree anywhere: as shards they use every broker once. An array that
comes in classes keeps all brokers level, however much of it is used.

- Strength 2 (two words agree in at most one place) with g^2 words is a transversal design TD(k, g), the same as k-2
  mutually orthogonal Latin squares. Fields give q+1 places (Bose 1938), products multiply (MacNeish 1922), difference
  matrices over 12 and 15 are data, quasi-difference matrices give four places for 10 and 14, and Wilson's construction
  (1974) makes large ones of small ones. Four places are thereby there for every g but 2 and 6, where they cannot be
  (Tarry 1900).
- Any strength: evaluations of polynomials of degree t over a field (Bush 1952; Reed, Solomon 1960), products of them,
  and words whose sum is zero, which exist for every g where a shard has t+2 places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice, product, repeat
from math import gcd

from controlplane.domain.placement.array_data import DIFFERENCE_MATRICES, QUASI_DIFFERENCES
from controlplane.domain.placement.fields import Field, Group, cyclic, field, join, prime_powers

Word = tuple[int, ...]
LARGEST = 1_024
"""Recipes are looked for up to this many symbols: beyond it their tables would fill memory."""


@dataclass(frozen=True)
class Array:
    """`count` words by `words()`; with `level`, they come in classes. `name` says where they come from."""

    name: str
    count: int
    words: Callable[[], Iterator[Word]]
    level: bool = False


@dataclass(frozen=True)
class Difference:
    """A difference matrix: any two of its rows differ by every element of the group once. Columns are what is
    developed: adding each element of the group to a column makes a class.
    """

    group: Group
    columns: tuple[Word, ...]

    def classes(self) -> Iterator[list[Word]]:
        for column in self.columns:
            yield list(zip(*(self.group.add[entry] for entry in column), strict=True))


def all_words(places: int, symbols: int) -> Array:
    """Every word. Two of them agree in at most `places` - 1 places."""

    def words() -> Iterator[Word]:
        add = cyclic(symbols).add
        for rest in product(range(symbols), repeat=places - 1):
            yield from zip(*(add[entry] for entry in (0, *rest)), strict=True)

    return Array("all combinations", symbols**places, words, level=True)


def diagonal(places: int, symbols: int) -> Array:
    """Words of which no two agree anywhere."""
    return Array("disjoint", symbols, lambda: ((at,) * places for at in range(symbols)), level=True)


def zero_sum(places: int, symbols: int) -> Array:
    """Words whose symbols add up to 0: any two agree in at most `places` - 2 places, symbols^(places-1) words.

    They come in classes where there are units that add up to 0: each word plus multiples of them is one.
    """
    units = _units(places, symbols)

    def words() -> Iterator[Word]:
        if units is None:
            for free in product(range(symbols), repeat=places - 1):
                yield (*free, -sum(free) % symbols)
            return
        for free in product(range(symbols), repeat=places - 2):
            start = (0, *free, -sum(free) % symbols)
            for times in range(symbols):
                yield tuple((at + times * unit) % symbols for at, unit in zip(start, units, strict=True))

    return Array(f"sum 0 modulo {symbols}", symbols ** (places - 1), words, level=units is not None)


def _units(places: int, symbols: int) -> Word | None:
    ones = (1, -1) * (places // 2)
    if places % 2:
        ones = (*ones[:-2], 1, 1, -2)
    return ones if all(gcd(unit, symbols) == 1 for unit in ones) and places > 1 else None


def polynomials(places: int, symbols: int, overlap: int) -> Array | None:
    """symbols^(overlap+1) words that agree in at most `overlap` places, or None where no fields give them."""
    factors = [prime**exponent for prime, exponent in prime_powers(symbols)]
    if symbols > LARGEST or not factors or min(_places(q, overlap) for q in factors) < places:
        return None
    level = min(factors) >= places

    def words() -> Iterator[Word]:
        fields = [field(q) for q in factors]
        heads = product(*(product(range(q), repeat=overlap) for q in factors))
        for coefficients in heads:
            parts = [list(_evaluations(over, places, head)) for over, head in zip(fields, coefficients, strict=True)]
            yield from _combined(parts, factors)

    name = " x ".join(f"GF({q})" for q in factors)
    return Array(f"polynomials over {name}", symbols ** (overlap + 1), words, level=level)


def _places(q: int, overlap: int) -> int:
    """Places that polynomials of degree `overlap` over GF(q) have: one an element, one for the leading coefficient, and
    with q even and degree 2 one more for the middle one (a hyperoval)."""
    return q + 2 if q % 2 == 0 and overlap == 2 else q + 1


def _evaluations(over: Field, places: int, head: Sequence[int]) -> Iterator[Word]:
    """The class of words of the polynomials with these coefficients, the leading one first, and any constant."""
    rows: list[Iterable[int]] = []
    for element in range(min(places, over.order)):
        value = 0
        for coefficient in head:
            value = over.add[over.multiply[value][element]][coefficient]
        rows.append(over.add[over.multiply[value][element]])
    rows += [repeat(head[at]) for at in range(places - over.order)]
    return zip(*rows, strict=False)


def _combined(parts: Sequence[Sequence[Word]], sizes: Sequence[int]) -> Iterator[Word]:
    """Words over a product of alphabets: one of each part, symbols joined place by place."""
    for words in product(*parts):
        word = words[0]
        for other, size in zip(words[1:], sizes[1:], strict=True):
            word = tuple(a * size + b for a, b in zip(word, other, strict=True))
        yield word


def transversal(places: int, symbols: int) -> Array | None:
    """A transversal design TD(places, symbols), in classes where one more place could be had; None if none is known
    here."""
    more = _recipe(places + 1, symbols)
    recipe = more or _recipe(places, symbols)
    if recipe is None:
        return None

    def words() -> Iterator[Word]:
        if more is None:
            yield from recipe.words()
        elif isinstance(more, _Developed) and places <= len(more.difference.columns[0]):
            yield from (word[:places] for word in chain.from_iterable(more.difference.classes()))
        else:
            yield from (word[:-1] for word in sorted(more.words(), key=lambda word: word[-1]))

    return Array(recipe.name, symbols**2, words, level=more is not None)


@dataclass(frozen=True)
class _Developed:
    """A difference matrix developed; `marked`: with the number of the class as one more place."""

    difference: Difference
    places: int
    name: str

    def words(self) -> Iterator[Word]:
        marked = self.places > len(self.difference.columns[0])
        for number, words in enumerate(self.difference.classes()):
            for word in words:
                yield (*word, number) if marked else word[: self.places]


@dataclass(frozen=True)
class _Listed:
    """Words made by a function that is called once a use."""

    name: str
    words: Callable[[], Iterator[Word]]


_Recipe = _Developed | _Listed


@lru_cache(maxsize=4096)
def _recipe(places: int, symbols: int) -> _Recipe | None:
    if symbols == 0:
        return _Listed("nothing", lambda: iter(()))
    if symbols == 1:
        return _Listed("one", lambda: iter([(0,) * places]))
    if symbols > LARGEST:
        return None
    if (difference := _difference(places - 1, symbols)) is not None:
        return _Developed(difference[0], places, difference[1])
    if places == 3:
        return _Listed(f"Latin square of order {symbols}", lambda: zero_sum(3, symbols).words())
    return _quasi(places, symbols) or _product(places, symbols) or _wilson(places, symbols)


@lru_cache(maxsize=256)
def _difference(rows: int, symbols: int) -> tuple[Difference, str] | None:
    """A difference matrix with at least `rows` rows over a group of that order: of a field, of data, or a product."""
    parts: list[tuple[Group, tuple[Word, ...], str]] = []
    left = symbols
    for size, columns in DIFFERENCE_MATRICES.items():
        other = left // size
        if left % size == 0 and len(columns[0]) >= rows > min(q**e for q, e in prime_powers(size)):
            group = join(*(cyclic(part) for part in _GROUPS[size]))
            parts.append((group, columns, f"a difference matrix over {size}"))
            left = other
            break
    for prime, exponent in prime_powers(left):
        q = prime**exponent
        if q < rows:
            return None
        over = field(q)
        columns = tuple(tuple(over.multiply[slope][at] for at in range(min(q, max(rows, 2)))) for slope in range(q))
        parts.append((Group(over.add), columns, f"GF({q})"))
    sizes = [group.order for group, _, _ in parts]
    width = min(len(columns[0]) for _, columns, _ in parts)
    columns = tuple(_combined([[column[:width] for column in columns] for _, columns, _ in parts], sizes))
    group = join(*(group for group, _, _ in parts)) if len(parts) > 1 else parts[0][0]
    return Difference(group, columns), " x ".join(name for _, _, name in parts)


_GROUPS = {12: (2, 6), 15: (15,)}


def _quasi(places: int, symbols: int) -> _Recipe | None:
    """Columns with at most one gap each, developed over Z_m: a gap becomes a point at infinity of its own, and a
    smaller transversal design fills what those points leave (Wilson 1974; the tables are Parker's squares, 1959)."""
    if symbols not in QUASI_DIFFERENCES or places > 4:
        return None
    modulus, columns = QUASI_DIFFERENCES[symbols]

    def words() -> Iterator[Word]:
        gaps = [0] * 4
        for column in columns:
            infinite = column.index(None) if None in column else None
            for shift in range(modulus):
                yield tuple(
                    modulus + gaps[at] if entry is None else (entry + shift) % modulus
                    for at, entry in enumerate(column)
                )[:places]
            if infinite is not None:
                gaps[infinite] += 1
        yield from ((at,) * places for at in range(modulus))
        inner = _recipe(4, symbols - modulus)
        if inner is None:
            raise ValueError(f"no transversal design for the {symbols - modulus} points at infinity")
        yield from (tuple(modulus + at for at in word[:places]) for word in inner.words())

    return _Listed(f"a quasi-difference matrix over {modulus}", words)


def _product(places: int, symbols: int) -> _Recipe | None:
    for one in range(2, int(symbols**0.5) + 1):
        other = symbols // one
        if symbols % one or (left := _recipe(places, one)) is None or (right := _recipe(places, other)) is None:
            continue

        def words(left: _Recipe = left, right: _Recipe = right, other: int = other) -> Iterator[Word]:
            return _combined([list(left.words()), list(right.words())], [1, other])

        return _Listed(f"({left.name}) x ({right.name})", words)
    return None


def _wilson(places: int, symbols: int) -> _Recipe | None:
    """TD(places, m t + u) of TD(places + 1, t) cut to u points in its last group, TD(places, m) for blocks that miss
    these, TD(places, m + 1) less a block for those that do not, and TD(places, u) (Wilson 1974)."""
    for m in range(3, symbols // 3 + 1):
        if _recipe(places, m) is None or _recipe(places, m + 1) is None:
            continue
        for t in range(-(-symbols // (m + 1)), symbols // m + 1):
            u = symbols - m * t
            if (
                0 <= u <= t
                and t > 1
                and _recipe(places, u) is not None
                and (base := _recipe(places + 1, t)) is not None
            ):
                return _Listed(f"Wilson's {m} x {t} + {u}", partial(_weighted, places, m, t, u, base))
    return None


def _weighted(places: int, m: int, t: int, u: int, base: _Recipe) -> Iterator[Word]:
    plain, wider, rest = _recipe(places, m), _recipe(places, m + 1), _recipe(places, u)
    if plain is None or wider is None or rest is None:
        raise ValueError("Wilson's construction without one of its parts")
    small, holed = list(plain.words()), _with_a_hole(list(wider.words()), m)
    for block in base.words():
        last = block[-1]
        for word in holed if last < u else small:
            yield tuple(t * m + last if at == m else point * m + at for point, at in zip(block, word, strict=False))
    yield from (tuple(t * m + at for at in word) for word in rest.words())


def _with_a_hole(words: list[Word], last: int) -> list[Word]:
    """Symbols renamed so that one word has the last symbol everywhere, and that word left out."""
    first = words[0]
    renamed = (
        tuple({symbol: last, last: symbol}.get(entry, entry) for entry, symbol in zip(word, first, strict=True))
        for word in words
    )
    return list(islice(renamed, 1, None))
