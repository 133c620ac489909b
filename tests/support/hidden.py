"""Values that a failing test must not print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Hidden(dict[Any, Any]):
    """Holds secrets: pytest shows the arguments of a call that it failed on, and of this it shows the keys alone."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"

    def __or__(self, other: Mapping[Any, Any]) -> Hidden:
        return Hidden({**self, **other})
