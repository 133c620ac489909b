"""How long steps tell a person that they are alive."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

BEAT_SECONDS = 20.0
"""Without a terminal (CI, a log file) one heartbeat line in this time; with one, the line is redrawn."""
REDRAW_SECONDS = 1.0


class Progress:
    """Writes to stderr by default: data belongs on stdout."""

    def __init__(self, stream: TextIO | None = None, *, beat_seconds: float = BEAT_SECONDS) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._beat_seconds = beat_seconds
        self._last_beat = time.monotonic()
        self._drawn = False

    def say(self, text: str) -> None:
        """One line that stays."""
        self._clear()
        print(text, file=self._stream, flush=True)
        self._last_beat = time.monotonic()

    def beat(self, text: str) -> None:
        """A passing remark: redrawn in place on a terminal, else printed now and then."""
        if self._terminal:
            self._clear()
            print(text[:110], end="", file=self._stream, flush=True)
            self._drawn = True
        elif time.monotonic() - self._last_beat >= self._beat_seconds:
            self.say(text)

    def _clear(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=self._stream)
            self._drawn = False


def since(started: float) -> str:
    """Minutes and seconds since then, by the monotonic clock."""
    seconds = int(time.monotonic() - started)
    return f"{seconds // 60}:{seconds % 60:02d}"


class Silence(Progress):
    """Says nothing: for callers that report otherwise."""

    def say(self, text: str) -> None:
        del text

    def beat(self, text: str) -> None:
        del text


@contextlib.contextmanager
def beating(progress: Progress, words: Callable[[], str], *, every: float | None = None) -> Iterator[None]:
    """A heartbeat of what somebody else's code does in this block, which has no place to say anything itself.

    `words` is called on a thread. Over before the block's end is seen, so that nothing is drawn over what follows.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(REDRAW_SECONDS if every is None else every):
            progress.beat(words())

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
