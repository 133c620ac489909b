"""What a command has begun ends with it, whichever way the command is ended itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def as_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP do meanwhile what Ctrl-C does: by themselves they would end the process there and then, and
    leave behind whatever it has begun.

    That is a KeyboardInterrupt, and under `asyncio.run` the main task is cancelled. One that is ignored (nohup) stays
    so. For the main thread.
    """
    before = {number: found for number in SIGNALS if (found := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # ignored, as of what a script runs in the background
        raise KeyboardInterrupt
    handler(number, frame)
