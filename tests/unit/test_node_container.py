"""Supervisor and container on real processes, without an API server: exit codes, adoption, loss, nothing left over."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.node import procfs
from controlplane.sandbox.node.container import Container
from controlplane.sandbox.node.records import POD, STARTED, read_json, records, write_json

SECONDS = 60.0
ENV = {"PATH": "/usr/bin:/bin"}


class Box:
    """One container directory and the Container objects of successive node processes over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._news = asyncio.Event()
        self.container = self.look()

    def look(self) -> Container:
        self.container = Container({"name": "c"}, self.directory / "c", self.directory / "root", self._news.set)
        return self.container

    async def start(self, script: str, *, command: str = "sh") -> Container:
        await self.container.start([command, "-c", script], ENV, self.directory)
        return self.container

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():
                self._news.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self._news.wait()
                except TimeoutError:
                    continue

    async def end(self) -> dict[str, Any]:
        await self.until(lambda: not self.container.running)
        assert self.container.ended is not None
        return self.container.ended


@pytest.fixture
async def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.mark.parametrize(
    ("script", "code", "number", "reason"),
    [
        ("exit 0", 0, 0, "Completed"),
        ("exit 42", 42, 0, "Error"),
        ("kill -TERM $$", 143, 15, "Error"),
    ],
)
async def test_exit_codes(box: Box, script: str, code: int, number: int, reason: str) -> None:
    await box.start(script)
    ended = await box.end()
    assert (ended["exit_code"], ended["signal"], ended["reason"]) == (code, number, reason)


async def test_a_command_that_is_not_there(box: Box) -> None:
    await box.start("", command="nowhere")
    ended = await box.end()
    assert (ended["exit_code"], ended["reason"]) == (128, "StartError")
    assert ended["message"] == 'exec: "nowhere": executable file not found in $PATH'


async def test_output_is_kept_line_by_line(box: Box) -> None:
    container = await box.start("echo one; echo two >&2; printf three; head -c 20000 /dev/zero | tr '\\0' x >&2")
    await box.end()
    lines = [line.split(" ", 3) for line in (container.record_dir / "log").read_text().splitlines()]
    assert [line[1:] for line in lines if line[1] == "stdout"] == [["stdout", "F", "one"], ["stdout", "F", "three"]]
    errors = [line[1:] for line in lines if line[1] == "stderr"]
    assert errors == [["stderr", "F", "two"], ["stderr", "P", "x" * 16384], ["stderr", "F", "x" * (20000 - 16384)]]


async def test_nothing_outlives_the_main_process(box: Box, tmp_path: Path) -> None:
    daemon = f"setsid sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 600' & until test -s {tmp_path}/daemon; do :; done"
    await box.start(f"({daemon}); exit 5")
    assert (await box.end())["exit_code"] == 5
    assert procfs.start_time(int((tmp_path / "daemon").read_text())) is None


async def test_signals_reach_the_container_as_if_nobody_stood_between(box: Box, tmp_path: Path) -> None:
    await box.start(f"trap 'exit 9' TERM; touch {tmp_path}/armed; while :; do sleep 0.05; done")
    await box.until((tmp_path / "armed").exists)
    box.container.stop(60.0)
    assert (await box.end())["exit_code"] == 9


async def test_a_stop_that_is_ignored_is_forced(box: Box, tmp_path: Path) -> None:
    await box.start(f"trap '' TERM; touch {tmp_path}/armed; sleep 600 & while :; do wait; done")
    await box.until((tmp_path / "armed").exists)
    box.container.stop(600.0)
    box.container.stop(0.1)
    assert (await box.end())["exit_code"] == 137


async def test_a_new_node_process_adopts_and_learns_what_it_missed(box: Box, tmp_path: Path) -> None:
    first = await box.start(f"until test -e {tmp_path}/go; do sleep 0.05; done; exit 6")
    started = first.started
    first.release()
    second = box.look()
    assert second.running
    assert second.started == started
    second.release()
    (tmp_path / "go").touch()
    assert started is not None
    await box.until(lambda: not procfs.alive(started["supervisor_pid"], started["supervisor_start"]))
    third = box.look()
    assert third.ended is not None
    assert third.ended["exit_code"] == 6
    await box.start("exit 0")
    assert third.attempt == 1
    assert third.last is not None
    assert third.last[1]["exit_code"] == 6
    await box.end()


async def test_the_main_process_dies_with_its_supervisor(box: Box) -> None:
    started = (await box.start("exec sleep 600")).started
    assert started is not None
    os.kill(started["supervisor_pid"], signal.SIGKILL)
    ended = await box.end()
    assert (ended["exit_code"], ended["reason"]) == (137, "ContainerStatusUnknown")
    await box.until(lambda: not procfs.alive(started["pid"], started["start_time"]))


async def test_after_a_reboot_a_record_names_nobody(box: Box) -> None:
    container = await box.start("exec sleep 600")
    record = container.record_dir / STARTED
    started = read_json(record)
    assert started is not None
    container.release()
    write_json(record, started | {"boot_id": "another boot"})
    again = box.look()
    assert again.ended is not None
    assert again.ended["message"].endswith("the machine was restarted")
    assert procfs.alive(started["pid"], started["start_time"]), "a reused pid must not be signalled"
    os.kill(started["pid"], signal.SIGKILL)
    await box.until(lambda: not procfs.alive(started["supervisor_pid"], started["supervisor_start"]))


async def test_an_attempt_that_was_claimed_is_not_run(box: Box, tmp_path: Path) -> None:
    record = tmp_path / "c" / "0"
    record.mkdir(parents=True)
    (record / STARTED).write_text("{}")
    with pytest.raises(OSError, match="claimed"):
        await box.start(f"touch {tmp_path}/ran")
    assert not (tmp_path / "ran").exists()
    shutil.rmtree(record)
    record.mkdir()
    assert box.look().attempt is None, "an attempt without started.json never ran"
    assert not record.exists()


async def test_only_two_attempts_are_kept(box: Box) -> None:
    for _ in range(4):
        await box.start("exit 1")
        await box.end()
    assert sorted(path.name for path in (box.directory / "c").iterdir()) == ["2", "3"]


@pytest.mark.parametrize("victim", ["pods", "containers", "c"])
def test_a_pod_that_is_removed_while_somebody_looks_at_all_is_passed_over(
    victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node takes a directory away after it was seen and before it is listed."""
    paths = SandboxPaths(tmp_path)
    pod = paths.node("node-a") / "pods" / "uid"
    (pod / "containers" / "c" / "0").mkdir(parents=True)
    write_json(pod / POD, {"namespace": "n", "name": "p", "uid": "uid", "grace": 1.0})

    def too_late(really: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def look(path: Any) -> Any:
            if Path(path).name == victim:
                Path(path).rename(tmp_path / "away")
            return really(path)

        return look

    monkeypatch.setattr(os, "listdir", too_late(os.listdir))
    monkeypatch.setattr(os, "scandir", too_late(os.scandir))
    assert records(paths, "node-a") == []
    assert (tmp_path / "away").exists()
