"""Brokers as a JSON file: `[{"id": 1, "rack": "a", "weight": 1.0, "capacity": "2Ti"}]`, all but the id as they please.

`kfleet placement` and `kfleet rebalance` take the same file; what capacities mean to them is their own business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.cli.errors import CliError
from controlplane.cli.json_file import check_object, check_whole, read_json, to_bytes

FIELDS = ("id", "rack", "weight", "capacity")
MOST_ID = 2**31 - 1
"""Broker ids and partitions are int32 in Kafka's protocol."""
MOST_WEIGHT = 10**9


@dataclass(frozen=True, slots=True)
class ListedBroker:
    """`capacity` is in bytes. A weight that is no positive number is for whoever plans with it to refuse."""

    id: int
    rack: str | None
    weight: float
    capacity: int | None


def read_brokers(file: Path) -> tuple[ListedBroker, ...]:
    """Raises OSError, and CliError that names the field for anything else than a list of brokers."""
    return brokers_of(read_json(file), f"{file}: ")


def brokers_of(document: Any, where: str) -> tuple[ListedBroker, ...]:
    """The same from JSON that has been read; `where` comes before the number of an entry."""
    if not isinstance(document, list):
        raise CliError(
            f'{where.removesuffix(": ")}: not a list of brokers: it is [{{"id": 1, "rack": "a", "weight": 1.0}}]'
        )
    return tuple(_brokers(document, where))


def _brokers(document: list[Any], where: str) -> Iterator[ListedBroker]:
    for number, entry in enumerate(document):
        at = f"{where}[{number}]"
        check_object(at, entry)
        if strange := sorted(set(entry) - set(FIELDS)):
            raise CliError(f"{at}.{strange[0]}: no such field; a broker has {', '.join(FIELDS)}")
        check_whole(f"{at}.id", entry.get("id"), MOST_ID)
        rack, weight, capacity = entry.get("rack"), entry.get("weight", 1.0), entry.get("capacity")
        if rack is not None and not isinstance(rack, str):
            raise CliError(f"{at}.rack: {rack!r} is not text: put it in quotes")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise CliError(f"{at}.weight: {weight!r} is not a number")
        if abs(weight) > MOST_WEIGHT:
            raise CliError(f"{at}.weight: not above 0 and at most {MOST_WEIGHT}: only proportions count")
        yield ListedBroker(
            entry["id"],
            rack or None,
            float(weight),
            None if capacity is None else to_bytes(f"{at}.capacity", capacity),
        )
