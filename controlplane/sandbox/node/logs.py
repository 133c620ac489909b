"""Reading container logs (CRI format) the way `kubectl logs` asks for them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from controlplane.sandbox.node import objects
from controlplane.sandbox.node.records import LOG

FOLLOW_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Request:
    """The options of GET /containerLogs. `since` filters by time, `tail` takes the last lines of what is there now."""

    follow: bool = False
    tail: int | None = None
    since: dt.datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


def render(line: bytes, request: Request) -> bytes | None:
    """One CRI line as its reader sees it; None when it is too old. P(artial) lines get no newline."""
    stamp, _, tag, text = [*line.rstrip(b"\n").split(b" ", 3), b"", b"", b""][:4]
    if request.since is not None and objects.moment(_micros(stamp.decode())) < request.since:
        return None
    prefix = stamp + b" " if request.timestamps else b""
    return prefix + text + (b"" if tag == b"P" else b"\n")


def _micros(stamp: str) -> str:
    """RFC 3339 with nanoseconds, cut to the microseconds datetime reads."""
    head, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{head}.{fraction[:6]:0<6}Z"


def last_lines(record: Path, count: int) -> str:
    shown = (render(line, Request()) for line in deque(_complete(record), maxlen=count))
    return b"".join(text for text in shown if text is not None).decode(errors="replace")


def _complete(record: Path) -> Iterator[bytes]:
    for path in (record / f"{LOG}.1", record / LOG):
        if path.exists():
            with path.open("rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))


async def stream(record: Path, request: Request, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's bytes; with `follow` until the container has ended. The file is looked at five times a second then."""
    left = request.limit_bytes
    async for text in _rendered(record, request, running):
        if left is None:
            yield text
            continue
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return


async def _rendered(record: Path, request: Request, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    path = record / LOG
    tail = Tail(path)
    older = path.with_name(f"{LOG}.1")
    lines: list[bytes] = []
    if older.exists():
        lines += [line for line in older.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    lines += tail.read()
    if request.tail is not None:
        lines = lines[len(lines) - min(len(lines), request.tail) :]
    while True:
        for line in lines:
            if (text := render(line, request)) is not None:
                yield text
        if not request.follow:
            return
        ended = not running()
        lines = tail.read()
        if lines:
            continue
        if ended:
            return
        await asyncio.sleep(FOLLOW_SECONDS)


class Tail:
    """Complete lines appended to a file since the last look, across one rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._position = 0
        self._pending = b""

    def read(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                inode = self._path.stat().st_ino
                if inode != self._inode:
                    rest = self._rotated() if self._inode else b""
                    self._inode, self._position, self._pending = inode, 0, self._pending + rest
                file.seek(self._position)
                data = file.read()
                self._position += len(data)
        except FileNotFoundError:
            return []
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [line + b"\n" for line in lines]

    def _rotated(self) -> bytes:
        """What was written to the old file after our last look at it."""
        older = self._path.with_name(f"{LOG}.1")
        if not older.exists() or older.stat().st_ino != self._inode:
            return b""
        with older.open("rb") as file:
            file.seek(self._position)
            return file.read()
