"""Fixtures for tests on real parts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.warm_cli import WarmCli


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCli]:
    """`kfleet` forked from a process with all its imports: on two busy cores those are most of what a command costs."""
    from support.operator import write_kubeconfig
    from support.warm_cli import WarmCli

    directory = tmp_path_factory.mktemp("warm")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        unreachable = directory / "unreachable.yaml"
        server = f"https://127.0.0.1:{taken.getsockname()[1]}"
        write_kubeconfig(unreachable, server=server, ca_pem="", token="nobody")
        with WarmCli(unreachable, directory) as started:
            yield started
