"""Kubernetes quantities ("10Gi", "500M", "250m", "1e9"), exactly as apimachinery's resource.Quantity reads them."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""Unsigned: nothing in a spec of ours may be negative."""

_FORM = re.compile(
    r"^(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
)
_FACTORS: dict[str, Fraction] = (
    {suffix + "i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)}
    | {suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)}
    | {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)}
)
_MAX_EXPONENT = 18


class QuantityError(ValueError):
    """Not a Kubernetes quantity; the message names the text."""


@lru_cache(maxsize=1024)  # the same few are read at every pass over every cluster
def parse_quantity(text: str | float) -> Fraction:
    """The exact value. Raises QuantityError."""
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise QuantityError(
            f"{str(text)!r} is not a quantity: write a number with an optional unit, such as 10Gi or 500M"
        )
    number, suffix = Fraction(Decimal(match["number"])), match["suffix"] or ""
    if suffix in _FACTORS:
        return number * _FACTORS[suffix]
    exponent = int(suffix[1:])
    if abs(exponent) > _MAX_EXPONENT:
        raise QuantityError(f"{str(text)!r} is not a quantity: exponent beyond {_MAX_EXPONENT}")
    return number * Fraction(10) ** exponent


def parse_bytes(text: str | float) -> int:
    """Whole bytes, rounded up as Kubernetes does. Raises QuantityError, also for a negative size."""
    value = parse_quantity(text)
    if value.numerator < 0:  # a comparison of fractions takes ten times as long, and this is asked for every volume
        raise QuantityError(f"{str(text)!r} is a negative size")
    return -((-value.numerator) // value.denominator)
