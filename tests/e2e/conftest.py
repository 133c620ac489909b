"""Each module has a namespace, an operator process and a Lease of its own, in the sandbox that all share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cell_fixtures import cell as cell
from support.cell_fixtures import dump_on_failure as dump_on_failure

LIMIT_SECONDS = 1800
"""Above what a test's own waits come to: those end a test that fails, and say what did not come. This is for hangs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the operator never used of what it may is asked once everything else was done."""
    items.sort(key=lambda item: item.path.stem == "test_privileges")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))
