"""`--local` on a real cluster: the operator's work done by the command line while the operator is down; not else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cell import Cell, combined_cluster, make_cell
from support.cell_fixtures import dump_on_failure as dump_on_failure
from support.operator import HOME
from support.sandbox import Sandbox

KFLEET = Path(sys.executable).parent / "kfleet"
LEASE_SECONDS = 15
"""As in production, half of what other tests have: here tests wait until one is over."""

pytestmark = [pytest.mark.sandbox, pytest.mark.kafka, pytest.mark.timeout(900)]


class Local:
    """A `kfleet` command against the cell, with the settings of the cell's operator."""

    def __init__(self, cell: Cell, *arguments: str, **settings: str) -> None:
        self.process = subprocess.Popen(
            [str(KFLEET), *arguments, "--local", "--kubeconfig", str(cell.kubeconfig), "-n", cell.namespace],
            env=cell.operator.environment() | {"KFLEET_IDENTITY": "", "KFLEET_LEDGER_URL": ""} | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def end(self, seconds: float = 240) -> int:
        code = self.process.wait(seconds)
        self._reader.join(10)
        assert "Traceback" not in self.said
        return code

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def cell(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    short = dict.fromkeys(("KFLEET_LEASE_DURATION", "KFLEET_CELL_LOCK_DURATION"), str(LEASE_SECONDS))
    with make_cell(sandbox, "local", tmp_path_factory.mktemp("local"), settings=short) as made:
        yield made


@pytest.fixture(scope="module")
def ready(cell: Cell) -> Cell:
    cell.apply(combined_cluster())
    cell.wait_ready()
    return cell


@pytest.fixture
def started() -> Iterator[list[Local]]:
    """Commands that must not outlive a test that failed."""
    running: list[Local] = []
    yield running
    for one in running:
        one.stop()


def change(cell: Cell, value: int) -> int:
    """A setting that needs a restart of every node; the generation that asks for it."""
    cell.patch({"config": {"num.io.threads": value}})
    return int(cell.cluster()["metadata"]["generation"])


def operation(cell: Cell) -> dict[str, object]:
    found: dict[str, object] = cell.cluster().get("status", {}).get("operation") or {}
    return found


def begun(cell: Cell, before: dict[int, str]) -> str:
    """The operation under way, once it has restarted a node. The first or a later one: a look may come late."""

    def under_way() -> object:
        one = operation(cell)
        return one.get("id") if set(cell.pod_uids().values()) - set(before.values()) else None

    return str(cell.wait("a node is restarted", under_way))


def restarts(cell: Cell, identity: str) -> list[str]:
    """Nodes that this operation has stopped, one word for each time."""
    found = []
    for event in cell.events():
        if event["reason"] == "NodeRestarting" and identity in event["message"]:
            found += [re.findall(r"node (\d+)", event["message"])[0]] * int(event["count"])
    return sorted(found)


def lease(cell: Cell, name: str, namespace: str) -> str:
    found = json.loads(cell.kubectl("get", "lease", name, "-n", namespace, "-o", "json"))
    return str(found["spec"].get("holderIdentity") or "")


def released(cell: Cell) -> bool:
    return lease(cell, f"operator-{cell.namespace}", HOME) == ""


def test_while_an_operator_is_alive_it_is_refused(ready: Cell, started: list[Local]) -> None:
    holder = ready.lease_holder()
    before = ready.pod_uids()
    local = Local(ready, "cluster", "reconcile", ready.name, "--yes")
    started.append(local)
    assert local.end(60) == 1
    refusal = local.said.splitlines()[-1]
    assert re.fullmatch(
        rf"kfleet: {holder} is alive: it holds Lease {HOME}/operator-{ready.namespace} since \S+ "
        r"and renewed it at \S+; leave --local out, it does the work",
        refusal,
    )
    assert ready.lease_holder() == holder
    assert ready.pod_uids() == before


def test_with_settings_that_are_not_the_operators_it_touches_nothing(ready: Cell, started: list[Local]) -> None:
    ready.operator.stop()
    before = ready.pod_uids()
    local = Local(ready, "cluster", "reconcile", ready.name, "--yes", KFLEET_STOP_GRACE="31")
    started.append(local)
    assert local.end(60) == 1
    assert local.said.splitlines()[-1].endswith("its settings (KFLEET_*) are not the operator's")
    assert ready.pod_uids() == before
    assert operation(ready) == {}
    assert released(ready)
    ready.operator.start()
    ready.wait("the operator is back", lambda: ready.lease_holder() == ready.operator.identity)


def test_a_roll_whose_operator_died_is_finished(ready: Cell, started: list[Local]) -> None:
    before = ready.pod_uids()
    change(ready, 9)
    identity = begun(ready, before)
    ready.operator.signal(signal.SIGKILL)
    ready.operator.wait()
    local = Local(ready, "op", "watch", identity)
    started.append(local)
    assert local.end() == 0, local.said
    assert f"waiting {LEASE_SECONDS} s for another renewal" in local.said
    assert f"{identity}: Succeeded" in local.said
    assert local.said.splitlines()[-1] == "the operator's Lease is released"
    assert released(ready)
    after = ready.pod_uids()
    assert not set(after.values()) & set(before.values())
    assert restarts(ready, identity) == sorted(map(str, before))
    assert lease(ready, f"{ready.name}-cell", ready.namespace) == ""
    ready.operator.start()
    ready.wait("the operator is back", lambda: ready.lease_holder() == ready.operator.identity)
    ready.wait_ready()
    assert ready.pod_uids() == after


def test_ctrl_c_releases_the_lease_and_the_operator_goes_on(ready: Cell, started: list[Local]) -> None:
    ready.operator.stop()
    before = ready.pod_uids()
    change(ready, 10)
    local = Local(ready, "cluster", "reconcile", ready.name, "--yes")
    started.append(local)
    identity = begun(ready, before)
    local.signal(signal.SIGINT)
    assert local.end(60) == 130, local.said
    assert local.said.splitlines()[-2:] == ["kfleet: the operator's Lease is released", "kfleet: interrupted"]
    assert released(ready)
    ready.operator.start()
    ready.wait_ready()
    assert not set(ready.pod_uids().values()) & set(before.values())
    assert restarts(ready, identity) == sorted(map(str, before))


def test_when_the_lease_is_lost_it_ends_before_it_writes(ready: Cell, started: list[Local]) -> None:
    ready.operator.stop()
    before = ready.pod_uids()
    change(ready, 11)
    local = Local(ready, "cluster", "reconcile", ready.name, "--yes")
    started.append(local)
    identity = begun(ready, before)
    local.signal(signal.SIGSTOP)
    ready.operator.start()
    ready.wait("the operator took over", lambda: ready.lease_holder() == ready.operator.identity)
    local.signal(signal.SIGCONT)
    assert local.end(120) == 1, local.said
    assert re.search(
        r"^kfleet: .*Lease .*(no longer surely ours|was not renewed within|was taken by)", local.said, re.MULTILINE
    )
    assert "released" not in local.said
    assert ready.lease_holder() == ready.operator.identity
    ready.wait_ready()
    assert restarts(ready, identity) == sorted(map(str, before))


def test_a_cancelled_roll_is_resumed_here(ready: Cell, started: list[Local]) -> None:
    before = ready.pod_uids()
    change(ready, 12)
    identity = str(ready.wait("a roll", lambda: operation(ready).get("id")))
    ready.kubectl("annotate", "kfc", ready.name, f"kfleet.dev/cancel={identity}")
    ready.wait("it has ended", lambda: (ready.cluster()["status"].get("lastOperation") or {}).get("id") == identity)
    ended = ready.cluster()["status"]["lastOperation"]
    assert ended["outcome"] == "Cancelled"
    plan_hash = ended["planHash"]
    ready.operator.stop()
    local = Local(ready, "op", "resume", identity, "--yes")
    started.append(local)
    assert local.end() == 0, local.said
    status = ready.cluster()["status"]
    assert status["lastOperation"]["outcome"] == "Succeeded"
    assert status["lastOperation"]["planHash"] == plan_hash
    assert "operation" not in status
    assert not set(ready.pod_uids().values()) & set(before.values())
    assert released(ready)
