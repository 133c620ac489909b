"""As many triples as can be of which any two share at most one element, for every number of elements.

n = 6m+3: Bose (1939); n = 6m+1: Skolem (1958); both are Steiner triple systems. n = 6m+5: triples and one block of
five that together cover every pair once (Lindner, Rodger, "Design Theory", the 6n+5 construction), with two triples in
the block. Other n: one more element, then without it. These are the largest there are (Schoenheim 1966).
"""

from __future__ import annotations

from collections.abc import Iterator

Triple = tuple[int, ...]


def most_triples(elements: int) -> list[Triple]:
    """Over 0 .. elements-1, each ascending, the list in order."""
    if elements < 3:
        return []
    match elements % 6:
        case 3:
            found = _bose(elements // 6)
        case 1:
            found = _skolem(elements // 6)
        case 5:
            triples, five = _with_a_five(elements // 6)
            found = [*triples, five[:3], (five[0], *five[3:])]
        case 4:
            return _less_one_of_five(*_with_a_five(elements // 6))
        case _:
            last = elements
            found = [triple for triple in most_triples(elements + 1) if last not in triple]
    return sorted(tuple(sorted(triple)) for triple in found)


def _bose(m: int) -> list[Triple]:
    """On Z_(2m+1) x {0, 1, 2}; (x, i) is number 3x + i. x * y is their middle."""
    order = 2 * m + 1
    middle = [half * (m + 1) % order for half in range(order)]
    found: list[Triple] = [(3 * x, 3 * x + 1, 3 * x + 2) for x in range(order)]
    for x in range(order):
        for y in range(x):
            z = middle[(x + y) % order]
            found += [(3 * x + i, 3 * y + i, 3 * z + (i + 1) % 3) for i in range(3)]
    return found


def _skolem(m: int) -> list[Triple]:
    """On Z_2m x {0, 1, 2} and one more; x * y is a half-idempotent product: x * x = x for the first half of them."""
    order, infinite = 2 * m, 6 * m
    half = [at // 2 if at % 2 == 0 else m + at // 2 for at in range(order)]
    found: list[Triple] = [(3 * x, 3 * x + 1, 3 * x + 2) for x in range(m)]
    for x in range(m):
        found += [(infinite, 3 * (m + x) + i, 3 * x + (i + 1) % 3) for i in range(3)]
    for x in range(order):
        for y in range(x):
            z = half[(x + y) % order]
            found += [(3 * x + i, 3 * y + i, 3 * z + (i + 1) % 3) for i in range(3)]
    return found


def _with_a_five(m: int) -> tuple[list[Triple], Triple]:
    """Triples and the block of five of a pairwise balanced design on 6m+5 elements.

    On Z_(2m+1) x {0, 1, 2} and two more; `turn` leaves 0 where it is and turns the others round.
    """
    order = 2 * m + 1
    one, two = 3 * order, 3 * order + 1
    turn = {0: 0} | {x: x % (2 * m) + 1 for x in range(1, order)}
    back = {after: before for before, after in turn.items()}
    found: list[Triple] = []
    for x in range(1, order, 2):
        after, before = turn[x], back[x]
        found += [
            (one, 3 * x, 3 * x + 1),
            (one, 3 * x + 2, 3 * after),
            (one, 3 * after + 1, 3 * after + 2),
            (two, 3 * x + 1, 3 * x + 2),
            (two, 3 * after, 3 * after + 1),
            (two, 3 * x, 3 * before + 2),
        ]
    for x in range(order):
        for y in range(x):
            z = (x + y) * (m + 1) % order
            found += [(3 * x, 3 * y, 3 * z + 1), (3 * x + 1, 3 * y + 1, 3 * z + 2), (3 * x + 2, 3 * y + 2, 3 * turn[z])]
    return found, (0, 1, 2, one, two)


def _less_one_of_five(triples: list[Triple], five: Triple) -> list[Triple]:
    """Without an element of the five, of which three that are left make a triple; numbers close up."""
    gone = five[-1]
    return sorted([*(tuple(sorted(triple)) for triple in triples if gone not in triple), tuple(sorted(five[:3]))])


def one_factors(elements: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs of an even number of elements, in classes that use each element once (Kirkman 1847)."""
    round_ = elements - 1
    for turn in range(round_):
        pairs = [(turn, round_)]
        pairs += [((turn + at) % round_, (turn - at) % round_) for at in range(1, elements // 2)]
        yield [(min(pair), max(pair)) for pair in pairs]
