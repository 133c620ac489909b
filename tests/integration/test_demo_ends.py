"""A demo that does not come to its end: nothing that it began goes on, and it says what is left. Real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pytest

from controlplane.sandbox.node import procfs

PROGRAM = Path(__file__).parents[1] / "support" / "short_demo.py"
SECONDS = 60
WAYS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
LEFT = "sandbox mine stays as it is; this ends it and removes its data: kfleet sandbox down --purge --name mine"


def is_canary(pid: int) -> bool:
    try:
        return b"controlplane.cli.canary" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass
class Demo:
    """`kfleet demo` with a canary that finds no broker for a minute."""

    process: subprocess.Popen[str]
    canary: int = 0

    def until(self, line: str) -> None:
        said = cast("IO[str]", self.process.stderr)
        while (text := said.readline()) != f"{line}\n":
            assert text, f"it ended without {line!r}"
        (self.canary,) = [pid for pid in procfs.descendants(self.process.pid) if is_canary(pid)]

    def said(self) -> list[str]:
        return self.process.communicate(timeout=SECONDS)[1].splitlines()


@contextmanager
def demo(root: Path, *arguments: str) -> Iterator[Demo]:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        command = [sys.executable, "-P", str(PROGRAM), str(root), str(nobody.getsockname()[1]), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            one = Demo(process)
            try:
                yield one
            finally:
                process.kill()
                if is_canary(one.canary):
                    with suppress(ProcessLookupError):
                        os.kill(one.canary, signal.SIGKILL)


@pytest.mark.parametrize("way", WAYS)
def test_one_that_is_told_to_end_ends_its_canary_and_says_what_is_left(way: str, tmp_path: Path) -> None:
    with demo(tmp_path, "waits", "--name", "mine") as one:
        one.until("waiting")
        one.process.send_signal(WAYS[way])
        said = one.said()
        assert not is_canary(one.canary)
    assert said[-2:] == [LEFT, "kfleet: interrupted"]
    assert one.process.returncode == 130
    assert list((tmp_path / "demo").glob("orders-app*")) == [], "the login of its canary is gone"
    assert (tmp_path / "up").exists()


def test_one_that_fails_says_what_is_left(tmp_path: Path) -> None:
    with demo(tmp_path, "fails", "--name", "mine") as one:
        assert one.said()[-2:] == [LEFT, "kfleet: it failed"]
        assert not [it for it in Path("/proc").glob("[0-9]*") if is_of(int(it.name), tmp_path)]
    assert one.process.returncode == 1


@pytest.mark.parametrize("way", ["SIGTERM", "fails"])
def test_with_no_keep_nothing_is_left_however_it_ends(way: str, tmp_path: Path) -> None:
    with demo(tmp_path, "fails" if way == "fails" else "waits", "--name", "mine", "--no-keep") as one:
        if way in WAYS:
            one.until("waiting")
            one.process.send_signal(WAYS[way])
        assert LEFT not in one.said()
    assert one.process.returncode == (1 if way == "fails" else 130)
    assert not (tmp_path / "up").exists()


def is_of(pid: int, root: Path) -> bool:
    """Whether it is the canary of the demo of that directory."""
    try:
        return is_canary(pid) and str(root).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
