"""Each module has a namespace, an operator process and a Lease of its own, in the sandbox that all share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cell import Cell, make_cell
from support.sandbox import Sandbox


@pytest.fixture(scope="module")
def cell(sandbox: Sandbox, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A cell named after the module; its namespace goes at the end, and the whole state is shown when a test fails."""
    name = Path(str(request.path)).stem.removeprefix("test_").replace("_", "-")
    with make_cell(sandbox, name, tmp_path_factory.mktemp(name)) as made:
        yield made


@pytest.fixture(autouse=True)
def dump_on_failure(request: pytest.FixtureRequest, cell: Cell) -> Iterator[None]:
    """What a person would look at first, once, beside the failure."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(cell.dump())
