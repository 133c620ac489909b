"""A directory is made exactly once: concurrent builders, builders that fail, builders that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.sandbox.once import locked, make_once

SLOW_BUILDER = """
import sys, time
from pathlib import Path
from controlplane.sandbox.once import make_once
def make(partial):
    (partial / "half").write_text("half")
    print("building", flush=True)
    time.sleep(600)
make_once(Path(sys.argv[1]), make)
"""


def write_whole(partial: Path) -> None:
    assert list(partial.iterdir()) == []
    (partial / "whole").write_text("whole")


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    calls = []

    def make(partial: Path) -> None:
        calls.append(partial)
        write_whole(partial)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: make_once(tmp_path / "x", make), range(4)))
    assert len(calls) == 1
    assert {result / "whole" for result in results} == {tmp_path / "x" / "whole"}


def test_a_failed_one_leaves_nothing_and_is_made_again(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "half").write_text("half")
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        make_once(tmp_path / "x", fail)
    assert [entry.name for entry in tmp_path.iterdir()] == [".x.lock"]
    assert (make_once(tmp_path / "x", write_whole) / "whole").exists()


def test_a_killed_one_is_made_again_from_the_start(tmp_path: Path) -> None:
    builder = subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILDER, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True
    )
    assert builder.stdout is not None
    with builder.stdout:
        assert builder.stdout.readline() == "building\n"
        os.kill(builder.pid, signal.SIGKILL)
        builder.wait()
    assert not (tmp_path / "x").exists()
    assert len(list(tmp_path.glob(".x.partial-*"))) == 1, "the killed builder should have left its half"
    make_once(tmp_path / "x", write_whole)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".x.lock", "x"]
    assert [entry.name for entry in (tmp_path / "x").iterdir()] == ["whole"]


def test_a_lock_file_may_be_removed_by_its_holder(tmp_path: Path) -> None:
    """`down --purge` removes the lock file while it holds it; whoever waited must not hold a file that is gone."""
    path, waited = tmp_path / "lock", []

    def second() -> bool:
        with locked(path, lambda: waited.append(True)):
            return path.exists()

    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            waiting = pool.submit(second)
            while not waited:
                assert not waiting.done()
            path.unlink()
        assert waiting.result()
