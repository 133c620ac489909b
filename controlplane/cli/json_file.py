"""JSON files that people give to commands, read field by field: whatever is wrong is said with file and field."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from controlplane.api.quantity import QuantityError, parse_bytes
from controlplane.cli.errors import CliError

MOST_BYTES = 2**60


class _TwiceError(ValueError):
    """JSON would take the last and say nothing of the others."""


def read_json(file: Path) -> Any:
    """Raises OSError and CliError."""
    try:
        return json.loads(file.read_bytes(), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise CliError(f"{file}: not JSON: line {error.lineno} column {error.colno}: {error.msg}") from None
    except _TwiceError as error:
        raise CliError(f"{file}: {error} is there twice in one object: leave one") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise CliError(f"{file}: not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _TwiceError(repr(name))
    return found


def check_object(where: str, entry: Any) -> None:
    """Raises CliError."""
    if not isinstance(entry, dict):
        raise CliError(f"{where}: {entry!r} is not an object")


def check_whole(where: str, value: Any, most: int) -> None:
    """Raises CliError for what is no whole number from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise CliError(f"{where}: {value!r} is not a whole number from 0 to {most}")


def to_bytes(where: str, value: Any) -> int:
    """Raises CliError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CliError(f"{where}: {value!r} is not a size: give bytes, or text such as '10Gi'")
    try:
        amount = parse_bytes(value)
    except QuantityError as error:
        raise CliError(f"{where}: {error}") from None
    if amount > MOST_BYTES:
        raise CliError(f"{where}: {value!r} is more than an exbibyte")
    return amount
