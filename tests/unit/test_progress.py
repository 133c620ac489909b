"""What long steps say meanwhile, also those that are somebody else's code."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace

import pytest

from controlplane.sandbox import progress as module
from controlplane.sandbox.progress import Progress, beating


def test_a_block_that_says_nothing_beats() -> None:
    """Without a terminal every beat that is due stays; what is said afterwards comes after all of them."""
    stream, asked = io.StringIO(), threading.Semaphore(0)

    def words() -> str:
        asked.release()
        return "  3 jars are here"

    progress = Progress(stream, beat_seconds=0.0)
    with beating(progress, words, every=0.001):
        for _ in range(3):
            assert asked.acquire(timeout=30), "it beats while the block runs"
    progress.say("done")
    lines = stream.getvalue().splitlines()
    assert (set(lines[:-1]), lines[-1]) == ({"  3 jars are here"}, "done")
    assert len(lines) >= 3


def test_a_block_that_fails_beats_no_more() -> None:
    stream, asked = io.StringIO(), threading.Event()

    def words() -> str:
        asked.set()
        return "  nothing yet"

    def fails() -> None:
        with beating(Progress(stream, beat_seconds=0.0), words, every=0.001):
            assert asked.wait(30)
            raise ValueError("no way")

    with pytest.raises(ValueError, match="no way"):
        fails()
    assert [thread.name for thread in threading.enumerate() if thread.name == "heartbeat"] == []


def test_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 225.9))
    assert (module.since(100.0), module.since(225.0)) == ("2:05", "0:00")
