"""Finite fields, and direct products of groups, over the numbers 0 .. order-1. Zero is 0, and one is 1.

An element of GF(p^d) is the number whose digits in base p are the coefficients of its polynomial. Multiplication goes
by logarithms: x generates the field, for the first polynomial found for which it does (Lidl, Niederreiter, "Finite
Fields").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A commutative group: `add[a][b]` is a + b."""

    add: Table

    @property
    def order(self) -> int:
        return len(self.add)


@dataclass(frozen=True, slots=True)
class Field:
    """`multiply[a][b]` is a * b."""

    add: Table
    multiply: Table

    @property
    def order(self) -> int:
        return len(self.add)

    def power(self, element: int, exponent: int) -> int:
        found = 1
        for _ in range(exponent):
            found = self.multiply[found][element]
        return found


def prime_powers(number: int) -> tuple[tuple[int, int], ...]:
    """(prime, exponent) of each prime power that divides it fully, ascending by prime. Nothing for 1."""
    found, prime = [], 2
    while number > 1:
        exponent = 0
        while number % prime == 0:
            number //= prime
            exponent += 1
        if exponent:
            found.append((prime, exponent))
        prime = prime + 1 if prime * prime <= number else max(number, prime + 1)
    return tuple(found)


def is_prime_power(number: int) -> bool:
    return len(prime_powers(number)) == 1


def next_prime_power(number: int) -> int:
    """The least one that is not below `number`."""
    return next(q for q in range(max(number, 2), 2 * number + 3) if is_prime_power(q))


@lru_cache(maxsize=64)
def cyclic(order: int) -> Group:
    numbers = range(order)
    return Group(tuple((*numbers[a:], *numbers[:a]) for a in numbers))


@lru_cache(maxsize=64)
def field(order: int) -> Field:
    """GF(order). Raises ValueError when the order is no prime power."""
    factors = prime_powers(order)
    if len(factors) != 1:
        raise ValueError(f"there is no field with {order} elements: that is no prime power")
    prime, degree = factors[0]
    if degree == 1:
        times = tuple(tuple(a * b % prime for b in range(prime)) for a in range(prime))
        return Field(cyclic(prime).add, times)
    powers = next(found for low in range(1, order) if (found := _powers_of_x(prime, degree, low)) is not None)
    logarithm = {element: at for at, element in enumerate(powers)}
    ones = order - 1
    times = tuple(
        tuple(powers[(logarithm[a] + logarithm[b]) % ones] if a and b else 0 for b in range(order))
        for a in range(order)
    )
    return Field(_digitwise(prime, degree), times)


def join(*groups: Group) -> Group:
    """Their direct product; the last one's digit counts ones."""
    whole = Group(((0,),))
    for group in groups:
        size = group.order
        whole = Group(
            tuple(
                tuple(whole.add[a][c] * size + group.add[b][d] for c, d in product(range(whole.order), range(size)))
                for a, b in product(range(whole.order), range(size))
            )
        )
    return whole


def _digitwise(prime: int, degree: int) -> Table:
    return join(*[cyclic(prime)] * degree).add


def _powers_of_x(prime: int, degree: int, low: int) -> list[int] | None:
    """1, x, x^2, ... modulo x^degree - low (low as a number), if these are all the elements but zero."""
    order = prime**degree
    digits = _digits(low, prime, degree)
    found, element = [1], 1
    for _ in range(order - 2):
        top, rest = divmod(element, order // prime)
        element = rest * prime
        if top:
            shifted = _digits(element, prime, degree)
            element = sum(
                (a + top * b) % prime * prime**at for at, (a, b) in enumerate(zip(shifted, digits, strict=True))
            )
        if element in (0, 1):
            return None
        found.append(element)
    return found if len(set(found)) == len(found) else None


def _digits(number: int, base: int, count: int) -> list[int]:
    found = []
    for _ in range(count):
        number, digit = divmod(number, base)
        found.append(digit)
    return found


def points(order: int, dimension: int) -> Iterator[tuple[int, ...]]:
    """The points of projective space over GF(order), each by its vector whose first coordinate that is not 0 is 1."""
    for vector in product(range(order), repeat=dimension + 1):
        if next((coordinate for coordinate in vector if coordinate), 0) == 1:
            yield vector
