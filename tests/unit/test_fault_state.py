"""faults.json: what is in force, across processes and crashes; and faults that are refused before they act."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.sandbox import faults
from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.fault_state import (
    Fault,
    FaultFileError,
    active,
    exclusive,
    faults_file,
    find,
    forget,
    lost_nodes,
    record,
)
from controlplane.sandbox.faults import pods
from controlplane.sandbox.node import procfs


@pytest.fixture
def paths(tmp_path: Path) -> SandboxPaths:
    config = SandboxConfig(
        name="t",
        api_port=1,
        etcd_port=2,
        etcd_peer_port=3,
        controller_manager_port=4,
        scheduler_port=5,
        pod_cidr="127.250.0.0/16",
        service_cidr="127.251.0.0/16",
    )
    found = SandboxPaths(tmp_path)
    found.config_file.write_text(config.model_dump_json())
    return found


def test_nothing_is_in_force_at_first(paths: SandboxPaths) -> None:
    assert active(paths) == []
    assert lost_nodes(paths) == set()


def test_record_find_replace_forget(paths: SandboxPaths) -> None:
    one = Fault(kind="service", target="ns/s", since=1.0)
    node = Fault(kind="node", target="node-a", since=2.0, undo={"nodes": "node-a"})
    zone = Fault(kind="zone", target="b", since=3.0, undo={"nodes": "node-b,node-d"})
    for fault in (one, node, zone):
        record(paths, fault)
    assert active(paths) == [one, node, zone]
    assert lost_nodes(paths) == {"node-a", "node-b", "node-d"}
    again = one.model_copy(update={"since": 9.0})
    record(paths, again)
    assert find(paths, "service", "ns/s") == again
    assert find(paths, "refuse", "ns/s") is None
    forget(paths, "node", "node-a")
    forget(paths, "node", "node-a")
    assert active(paths) == [zone, again]


@pytest.mark.parametrize("text", ["", "{", "{}", '[{"kind": "service"}]', '[{"kind": 1, "target": "x", "since": "y"}]'])
def test_a_broken_file_says_how_to_go_on(paths: SandboxPaths, text: str) -> None:
    faults_file(paths).write_text(text)
    with pytest.raises(FaultFileError, match=r"faults\.json cannot be read .* delete it"):
        active(paths)


def test_writers_exclude_one_another_and_readers_never_see_half_a_file(paths: SandboxPaths) -> None:
    def write(number: int) -> None:
        with exclusive(paths):
            record(paths, Fault(kind="freeze", target=f"ns/p{number}", since=float(number)))

    def read(_: int) -> None:
        assert all(fault.kind == "freeze" for fault in active(paths))

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(step, number) for number in range(40) for step in (write, read)]
    assert [one.exception() for one in done if one.exception()] == []
    assert {fault.since for fault in active(paths)} == {float(number) for number in range(40)}


@pytest.mark.parametrize(
    ("kind", "target", "words"),
    [
        ("meteor", "x", "unknown kind of fault 'meteor'; there are kill, freeze, disk, node, zone, service, refuse"),
        ("partition", "a/b", "needs network namespaces"),
        ("node", "node-z", "no node node-z; there is: node-a, node-b, node-c"),
        ("zone", "z", "no zone z; there is: a, b, c"),
        ("zone", "", "zone needs a target: a zone, e.g. a"),
        ("kill", "web", "target 'web' is not a pod: write namespace/name"),
        ("kill", "a/b/c", "target 'a/b/c' is not a pod: write namespace/name"),
        ("freeze", "ns/web", "pod ns/web runs no container; running pods: none"),
        ("disk", "data", "target 'data' is not a claim: write namespace/name"),
        ("disk", "ns/data", "the sandbox has never been up"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_no_record(
    paths: SandboxPaths, kind: str, target: str, words: str
) -> None:
    with pytest.raises(faults.FaultError) as refused:
        faults.fail(paths, kind, target)
    assert words in str(refused.value)
    assert active(paths) == []


def test_heal_names_what_is_in_force(paths: SandboxPaths) -> None:
    record(paths, Fault(kind="service", target="ns/s", since=1.0))
    with pytest.raises(faults.FaultError, match=r"no fault refuse ns/s; in force: service ns/s"):
        faults.heal(paths, "refuse", "ns/s")
    with pytest.raises(faults.FaultError, match="kill leaves nothing to heal"):
        faults.heal(paths, "kill", "ns/p")


def test_heal_all(paths: SandboxPaths) -> None:
    assert faults.heal(paths, "all", "") == "no fault is in force"
    record(paths, Fault(kind="service", target="ns/s", since=1.0))
    record(paths, Fault(kind="zone", target="a", since=2.0, undo={"nodes": "node-a"}))
    assert "node-a starts with the next" in faults.heal(paths, "all", "")
    assert active(paths) == []


def test_a_node_that_two_faults_hold_stays_down(paths: SandboxPaths) -> None:
    record(paths, Fault(kind="node", target="node-a", since=1.0, undo={"nodes": "node-a"}))
    record(paths, Fault(kind="zone", target="a", since=2.0, undo={"nodes": "node-a"}))
    assert faults.heal(paths, "zone", "a") == "node-a stays down: another fault holds it"
    assert lost_nodes(paths) == {"node-a"}


def test_every_kind_says_what_it_does_and_takes() -> None:
    assert list(faults.KINDS) == ["kill", "freeze", "disk", "node", "zone", "service", "refuse"]
    assert all("(target: " in text for text in faults.KINDS.values())
    assert json.loads(json.dumps(faults.KINDS)) == faults.KINDS


def test_a_process_that_forks_before_it_stops_is_frozen_with_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP takes effect when the process is next scheduled: here after two looks, and it has forked by then."""
    looks, signalled = 0, []

    def moves(pid: int) -> bool:
        nonlocal looks
        looks += 1
        return looks < 3

    monkeypatch.setattr(procfs, "moves", moves)
    monkeypatch.setattr(pods, "_signal", lambda pid, number: signalled.append(pid))
    container: Any = SimpleNamespace(processes=lambda: [1] if looks < 3 else [1, 2])
    pods.freeze([container])
    assert signalled == [1, 2]


def test_what_is_frozen_stands_still_when_freeze_returns() -> None:
    busy = "import threading\nfor _ in range(8): threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()"
    process = subprocess.Popen([sys.executable, "-c", busy + "\nprint(flush=True)"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert procfs.moves(process.pid)
        container: Any = SimpleNamespace(processes=lambda: [process.pid])
        pods.freeze([container])
        assert not procfs.moves(process.pid)
    finally:
        process.kill()
        process.communicate()
