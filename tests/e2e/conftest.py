"""Each module has a namespace, an operator process and a Lease of its own, in the sandbox that all share.

`make e2e` runs two modules at a time, each from its first test to its last in one process. So a module keeps to what
has its name: its namespaces, and of what is cluster-scoped its tenants and their prefixes. Machines are everybody's: a
module that cordons or loses one has a sandbox of its own (test_drain.py). What has to have the machine for itself, or
to come after everything else, asks for the fixture `alone`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cell_fixtures import cell as cell
from support.cell_fixtures import dump_on_failure as dump_on_failure
from support.order import LAST
from support.sandbox import Sandbox, wait_until_alone

LIMIT_SECONDS = 1800
"""Above what a test's own waits come to: those end a test that fails, and say what did not come. This is for hangs."""
ALONE_SECONDS = 1200
"""More than the longest module takes."""


@pytest.fixture
def alone(sandbox: Sandbox) -> None:
    """Once every other process of this run has done its tests."""
    wait_until_alone(sandbox, ALONE_SECONDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))
            assert isinstance(item, pytest.Function)
            waits = f"e2e/{item.path.stem}" in LAST
            assert waits or "alone" not in item.fixturenames, f"{item.nodeid} waits for others: LAST names its module"
