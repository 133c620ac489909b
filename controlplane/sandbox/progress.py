"""How long steps tell a person that they are alive."""

from __future__ import annotations

import sys
import time
from typing import TextIO

BEAT_SECONDS = 20.0
"""Without a terminal (CI, a log file) one heartbeat line in this time; with one, the line is redrawn."""


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


class Silence(Progress):
    """Says nothing: for callers that report otherwise."""

    def say(self, text: str) -> None:
        del text

    def beat(self, text: str) -> None:
        del text
