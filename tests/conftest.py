"""Fixtures for every suite. Importing this must stay cheap: unit tests load it too."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.order import ModuleScheduling, rank

# Two busy cores make any deadline a coin toss, that of drawing examples too; what a property costs is seen in the
# suite's durations. New examples are looked for where people work; CI draws the same ones for the same code, so that
# what it refuses is what was changed.
settings.register_profile(
    "kfleet",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("kfleet")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A run started in the background of a shell has Ctrl-C ignored, and so had every program that tests send it to.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from support.sandbox import Sandbox
    from support.warm_cli import WarmCli
    from xdist.remote import Producer


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ModuleScheduling | None:
    return ModuleScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests and their modules are garbage to nobody: looking for garbage among them again and again was a
    third of what collecting them cost, and went on being part of what each test cost."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    items.sort(key=lambda item: rank(item.path.relative_to(root).with_suffix("").as_posix()))


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One real sandbox for the whole run, workers of pytest-xdist included. Tests keep to namespaces of their own.

    No kfleet operator runs in it (CRDs and policies are there): tests that need one start their own.
    """
    from support.sandbox import shared_sandbox

    base = tmp_path_factory.getbasetemp()
    run = base.parent if hasattr(request.config, "workerinput") else base
    # Not below pytest's own folder: later runs remove that, also under a sandbox that a killed run left behind.
    state = Path(tempfile.gettempdir()) / f"kfleet-tests-{os.getuid()}"
    with shared_sandbox(state, f"test-{run.name}") as shared:
        yield shared


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
