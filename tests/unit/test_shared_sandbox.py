"""The sandbox of a test run that has several processes: made by the first, taken down once, by the last that lives."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.sandbox import POLL_SECONDS

TESTS = Path(__file__).parents[1]
WORKER = """
import sys
from pathlib import Path
from support import sandbox

state, log, name = map(Path, sys.argv[1:])

def note(what):
    with log.open("a") as file:
        file.write(f"{what} {name}\\n")

sandbox.Sandbox.up = lambda self: note("up")
sandbox.Sandbox.down = lambda self, purge: note("down")
sandbox.lifecycle.down = lambda paths, progress, purge: note("taken down")
with sandbox.shared_sandbox(state, "run") as shared:
    print("in", flush=True)
    for word in sys.stdin:
        if word == "alone\\n":
            sandbox.wait_until_alone(shared, 60)
            print("alone", flush=True)
"""
Worker = subprocess.Popen[str]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    """Starts a process that uses the sandbox, and returns when it does."""
    begun = []

    def start(name: str) -> Worker:
        arguments = [sys.executable, "-c", WORKER, str(tmp_path / "state"), str(tmp_path / "log"), name]
        environment = os.environ | {"PYTHONPATH": str(TESTS), "KFLEET_RUNTIME": str(tmp_path / "runtime")}
        worker = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=TESTS.parent
        )
        begun.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "in\n"
        return worker

    yield start
    for worker in begun:
        worker.kill()
        worker.communicate()


def end(worker: Worker) -> None:
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_the_last_process_takes_it_down_also_when_another_was_killed(
    begin: Callable[[str], Worker], tmp_path: Path
) -> None:
    """And it knows when it is alone."""
    last, ends, dies = begin("last"), begin("ends"), begin("dies")
    assert last.stdin is not None
    assert last.stdout is not None
    last.stdin.write("alone\n")
    last.stdin.flush()
    end(ends)
    assert not select.select([last.stdout], [], [], 5 * POLL_SECONDS)[0], "one of two others is still there"
    dies.kill()
    dies.wait()
    assert last.stdout.readline() == "alone\n"
    end(last)
    assert (tmp_path / "log").read_text().splitlines() == ["up last", "up ends", "up dies", "down last"]
