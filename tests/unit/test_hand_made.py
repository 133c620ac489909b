"""The script of `make bench-roll`'s plain side, with processes that only listen in place of Kafka."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as Some

import pytest
from support import hand_made
from support.hand_made import NODES, HandMade
from support.sandbox import wait

from controlplane.sandbox.images import Runtime

LISTENER = """\
import os, socket, sys, time
root = os.environ["KFLEET_POD_ROOT"]
lines = dict(line.strip().split("=", 1) for line in open(root + "/etc/kafka/run/server.properties"))
with open(root + "/../starts", "a") as starts:
    starts.write(lines["node.id"] + " " + lines.get("queued.max.requests", "-") + " " + os.environ["KAFKA_HEAP"])
    starts.write(chr(10))
server = socket.create_server(("127.0.0.1", int(lines["listeners"].split(",")[0].rpartition(":")[2])))
while True:
    server.accept()[0].close()
"""


class Asked:
    """What a broker answers; the first answer after each start is that a replica is still missing."""

    def __init__(self, *, catches_up: bool = True) -> None:
        self.catches_up, self.behind = catches_up, True

    def list_topics(self, timeout: float) -> Some:
        self.behind = not self.behind if self.catches_up else True
        isrs = [1, 2] if self.behind else [1, 2, 3]
        partition = Some(leader=1, replicas=[1, 2, 3], isrs=isrs)
        return Some(brokers=dict.fromkeys(NODES), topics={"orders": Some(partitions={0: partition})})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HandMade]:
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "listener.py").write_text(LISTENER)
    for name, body in {
        "kafka-node-run": f"exec {sys.executable} -I -S {tmp_path / 'listener.py'}",
        "java": f'echo "$@" >> {tmp_path / "formats"}',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    image = Runtime({"JAVA_HOME": str(tmp_path), "KAFKA_LIBS": "/libs"}, (programs, Path("/bin")))
    monkeypatch.setattr(hand_made, "resolve", lambda _: image)
    monkeypatch.setattr(hand_made, "ASK_POLL_SECONDS", 0.01)
    monkeypatch.setattr(hand_made, "PORT_POLL_SECONDS", 0.02)
    made = HandMade(tmp_path, "4.3.1", 512)
    made.__dict__["_asking"] = Asked()
    try:
        made.create()
        wait("all to listen", lambda: (tmp_path / "starts").exists() and len(starts(made)) == len(NODES), 20)
        yield made
    finally:
        made.close()


def starts(cluster: HandMade) -> list[str]:
    return (cluster.directory / "starts").read_text().splitlines()


def test_every_node_is_restarted_once_in_turn_with_the_new_setting(cluster: HandMade) -> None:
    line = cluster.roll({"queued.max.requests": "501"})
    assert sorted(starts(cluster)[:3]) == [f"{node} - 512m" for node in NODES]
    assert starts(cluster)[3:] == [f"{node} 501 512m" for node in NODES]
    assert [node.node for node in line.nodes] == ["1", "2", "3"]
    assert all(min(node.stop_s, node.start_s, node.back_s) > 0 for node in line.nodes)
    formats = (cluster.directory / "formats").read_text().splitlines()
    assert len(formats) == len(NODES)
    assert all("--initial-controllers 1@127.0.0.1:" in line for line in formats)


def test_control_a_replica_that_stays_out_stops_the_script(cluster: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_made, "START_SECONDS", 0.5)
    cluster.__dict__["_asking"] = Asked(catches_up=False)
    with pytest.raises(AssertionError, match="every replica in sync: not within"):
        cluster.roll({"queued.max.requests": "501"})
    assert [start for start in starts(cluster) if "501" in start] == ["1 501 512m"]


def test_control_a_node_that_ends_at_once_is_said_with_its_last_words(cluster: HandMade, tmp_path: Path) -> None:
    (tmp_path / "listener.py").write_text("import sys; sys.exit('no such setting')")
    with pytest.raises(AssertionError, match="node 1 ended: no such setting"):
        cluster.roll({})


def test_nothing_is_left_running(cluster: HandMade) -> None:
    cluster.roll({})
    cluster.close()
    left = [
        command
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (command := _command(entry)) and str(cluster.directory / "listener.py") in command
    ]
    assert left == []


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
