"""Brokers as a JSON file: `[{"id": 1, "rack": "a", "weight": 1.0}]`, rack and weight as they please."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlplane.cli.errors import CliError
from controlplane.domain.placement.values import Broker

FIELDS = ("id", "rack", "weight")
MOST_WEIGHT = 10**9


def read_brokers(file: Path) -> tuple[Broker, ...]:
    """Raises OSError, and CliError that names the field for anything else than a list of brokers."""
    return brokers_of(read_json(file), file)


def read_json(file: Path) -> Any:
    """Raises OSError and CliError."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _bad(file, f"is not JSON: {error}") from None


def brokers_of(entries: Any, file: Path) -> tuple[Broker, ...]:
    """The same from JSON that has been read."""
    if not isinstance(entries, list):
        raise _bad(file, 'is not a list of brokers, such as [{"id": 1, "rack": "a", "weight": 1.0}]')
    return tuple(_broker(entry, f"brokers[{at}]", file) for at, entry in enumerate(entries))


def _broker(entry: Any, path: str, file: Path) -> Broker:
    if not isinstance(entry, dict):
        raise _bad(file, f"{path} is not an object with an id")
    unknown = sorted(set(entry) - set(FIELDS))
    if unknown:
        raise _bad(file, f"{path}.{unknown[0]} means nothing here; a broker has {', '.join(FIELDS)}")
    number, rack, weight = entry.get("id"), entry.get("rack", ""), entry.get("weight", 1.0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise _bad(file, f"{path}.id is no broker id: a whole number from 0")
    if not isinstance(rack, str | None):
        raise _bad(file, f"{path}.rack is no name of a rack")
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise _bad(file, f"{path}.weight is no number")
    if not 0 < weight <= MOST_WEIGHT:
        problem = f"{path}.weight is {weight}, but is above 0 and at most {MOST_WEIGHT}"
        raise _bad(file, f"{problem}: leave a broker out that shall carry nothing")
    return Broker(number, rack or "", float(weight))


def _bad(file: Path, problem: str) -> CliError:
    return CliError(f"{file}: {problem}")
