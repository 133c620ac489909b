"""$(VAR) references in command, args, env values and subPathExpr, and resource quantities. Pure.

Rules from Kubernetes' third_party/forked/golang/expansion: `$(NAME)` becomes the value, an unknown name stays as it is
written, `$$` becomes `$` (so `$$(NAME)` is the literal `$(NAME)`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:[eE]([+-]?[0-9]+))?([a-zA-Z]*)")


def expand(text: str, values: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return values.get(name, match.group(0))

    return _REFERENCE.sub(replace, text)


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity ("500m", "1Gi", "2e3") as a number. Raises ValueError."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match.group(3) not in _SUFFIXES:
        raise ValueError(f"not a quantity: {text!r}")
    return Decimal(match.group(1)).scaleb(int(match.group(2) or 0)) * _SUFFIXES[match.group(3)]


def divide(amount: str, divisor: str) -> str:
    """What a resourceFieldRef shows: the amount in units of the divisor, rounded up; divisor "0" means 1."""
    unit = quantity(divisor) or Decimal(1)
    return str(int((quantity(amount) / unit).to_integral_value(ROUND_CEILING)))
