"""The demo's own logic: what it says of a roll, how it counts, what it refuses. The whole of it runs in `make demo`."""

from __future__ import annotations

import copy
import io
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from support.sandbox import wait

from controlplane.api.names import SECRETS_ROLE
from controlplane.cli.demo import QUICKSTART, SHOWN, Upgrade, _next_steps
from controlplane.cli.demo_canary import CanaryProcess
from controlplane.cli.demo_cluster import CLUSTER, NAMESPACE, TOPIC, USER, DemoCluster, ready_condition
from controlplane.cli.demo_login import mounted
from controlplane.cli.demo_roll import RollWatch
from controlplane.cli.errors import CliError
from controlplane.cli.main import run
from controlplane.domain.journal import sent_line
from controlplane.domain.users.secret import Identity, Login, contents
from controlplane.sandbox.progress import Progress

PASSWORD = "a-password-that-nobody-may-see"
SECRET = contents(Login(["127.0.0.1:1"]), Identity(USER, SecretStr(PASSWORD)))


def cluster_at(version: str, *, ready: bool, metadata: str = "4.2-IV1", **status: Any) -> dict[str, Any]:
    nodes = [
        {"id": number, "pool": "brokers", "rack": "a", "version": version, "ready": True, "state": "Running"}
        for number in range(2)
    ]
    condition = {"type": "Ready", "status": str(ready), "observedGeneration": 2, "reason": "R", "message": "why"}
    return {
        "metadata": {"generation": 2},
        "status": {
            "conditions": [condition],
            "version": version,
            "metadataVersion": metadata,
            "nodes": nodes,
        }
        | status,
    }


class ScriptedCluster(DemoCluster):
    """A world that is set from outside."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.progress = Progress(self.out)
        self.found: dict[str, Any] = {}
        self.uids: set[str] = set()

    async def cluster(self) -> dict[str, Any]:
        return copy.deepcopy(self.found)

    async def pod_uids(self) -> set[str]:
        return set(self.uids)


def operation(step: int, **more: Any) -> Mapping[str, Any]:
    return {
        "id": "op-1",
        "message": "waiting for node 1",
        "step": {"id": step, "verb": "ReplacePod", "target": "1", "why": "out of date"},
    } | more


def rolled(watch: RollWatch) -> bool:
    return watch.roll_s is not None


async def test_a_roll_is_over_only_when_it_is_finalised() -> None:
    world = ScriptedCluster()
    watch = RollWatch(world, "4.3.1", "4.3-IV0", {"a", "b"})

    world.found, world.uids = cluster_at("4.2.0", ready=False, operation=operation(1)), {"a", "b"}
    assert await watch.look() == (False, "waiting for node 1")

    world.found["status"]["nodes"][1] |= {"version": "4.3.1", "ready": False, "state": "Starting"}
    world.uids = {"a", "b2"}
    assert (await watch.look())[0] is False

    world.found = cluster_at("4.3.1", ready=False, operation=operation(2))
    world.uids = {"a2", "b2"}
    assert (await watch.look())[0] is False
    assert not rolled(watch), "all pods run, but the operator still waits for their replicas"

    world.found = cluster_at("4.3.1", ready=False, operation=operation(2, soakSince="2026-11-21T00:00:00Z"))
    assert (await watch.look())[0] is False
    assert rolled(watch)

    world.found = cluster_at("4.3.1", ready=True)
    assert await watch.look() == (False, "R why"), "the old metadata.version is still in force"

    world.found = cluster_at("4.3.1", ready=True, metadata="4.3-IV0")
    assert (await watch.look())[0] is True
    assert watch.replaced == 2
    said = world.out.getvalue()
    assert said.count("step 1: ReplacePod 1 (out of date)") == 1
    assert "node 1 (brokers, zone a): 4.3.1 Starting" in said


async def test_a_step_without_a_target_says_what_there_is_to_say() -> None:
    """A blocked one says why, in a sentence; and nothing is left hanging at the end of a line."""
    world = ScriptedCluster()
    watch = RollWatch(world, "4.3.1", "4.3-IV0", {"a"})
    blocked = {"id": "op-1", "message": "Node 2 is behind. See its log.", "step": {"id": 1, "verb": "Blocked"}}
    world.found = cluster_at("4.2.0", ready=False, operation=blocked)
    await watch.look()
    world.found = cluster_at("4.2.0", ready=False, operation={"id": "op-1", "step": {"id": 2, "verb": "Soaking"}})
    await watch.look()
    said = [line.split("s  ", 1)[1] for line in world.out.getvalue().splitlines() if "step" in line]
    assert said == ["step 1: Blocked: Node 2 is behind", "step 2: Soaking"]


async def test_a_pod_replaced_twice_counts_twice() -> None:
    world = ScriptedCluster()
    watch = RollWatch(world, "4.3.1", "4.3-IV0", {"a"})
    world.found = cluster_at("4.2.0", ready=False)
    for uids in ({"a"}, {"a", "b"}, {"b"}, {"c"}):
        world.uids = uids
        await watch.look()
    assert watch.replaced == 2


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (cluster_at("4.2.0", ready=True), (True, "R why")),
        (cluster_at("4.2.0", ready=False), (False, "R why")),
        (cluster_at("4.2.0", ready=True) | {"metadata": {"generation": 3}}, (False, "R why")),
        ({"metadata": {"generation": 1}}, (False, "no word from the operator yet")),
    ],
)
def test_ready_is_about_this_generation(found: dict[str, Any], expected: tuple[bool, str]) -> None:
    assert ready_condition(found) == expected


async def test_what_never_comes_ends_with_the_state_of_things(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ScriptedCluster()
    dumped: list[str] = []
    monkeypatch.setattr(world, "dump", lambda: dumped.append("state"))

    async def never() -> tuple[bool, str]:
        return False, "2 of 6 nodes"

    with pytest.raises(CliError, match=r"the cluster: not within 0\.01 s \(2 of 6 nodes\)"):
        await world.wait("the cluster", "1 s", never, 0.01)
    assert dumped == ["state"]


def test_a_canary_that_cannot_run_ends_the_demo_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").touch()
    with mounted(SECRET, tmp_path / "login"), CanaryProcess(tmp_path / "login", "absent", 10, tmp_path, "c") as canary:
        assert canary._process is not None
        canary._process.wait(60)
        with pytest.raises(CliError, match=r"the canary ended by itself: journal .*c\.jsonl exists already"):
            canary.check()


def test_records_flow_once_one_is_acknowledged_however_late(tmp_path: Path) -> None:
    canary = CanaryProcess(tmp_path, "t", 10, tmp_path, "c")
    assert not canary.flowing(), "no journal yet"
    with canary.journal.open("a") as journal:
        journal.write(sent_line(0, 0, 5, 123456789) * 100_000)
        journal.flush()
        assert not canary.flowing()
        for torn in ('["a', 'ck",0,0,1,2,3]\n'):
            assert not canary.flowing()
            journal.write(torn)
            journal.flush()
        assert canary.flowing()


def test_leaving_ends_the_canary(tmp_path: Path) -> None:
    with mounted(SECRET, tmp_path / "login"), CanaryProcess(tmp_path / "login", "absent", 10, tmp_path, "c") as canary:
        process = canary._process
    assert process is not None
    assert process.returncode is not None


def test_a_login_is_for_nobody_else_and_gone_afterwards(tmp_path: Path) -> None:
    directory = tmp_path / "demo" / "app"
    mask = os.umask(0)
    try:
        with mounted(SECRET, directory):
            assert {file.name: file.read_text() for file in directory.iterdir()} == SECRET
            assert directory.stat().st_mode & 0o777 == 0o700
            assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}
    finally:
        os.umask(mask)
    assert not directory.exists()
    with pytest.raises(CliError), mounted(SECRET, directory):
        raise CliError("whatever happens meanwhile")
    assert not directory.exists()


def test_what_a_killed_demo_left_of_a_login_goes(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "old").write_text(PASSWORD)
    with mounted(SECRET, tmp_path / "app"):
        assert {file.name for file in (tmp_path / "app").iterdir()} == set(SECRET)


def test_the_canarys_command_line_has_no_password(tmp_path: Path) -> None:
    with mounted(SECRET, tmp_path / "login"), CanaryProcess(tmp_path / "login", "absent", 10, tmp_path, "c") as canary:
        assert canary._process is not None
        process = Path("/proc") / str(canary._process.pid)
        wait("its command line", (process / "cmdline").read_bytes)
        listed = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert str(tmp_path / "login").encode() in listed
    assert PASSWORD.encode() not in listed


def test_the_demo_asks_for_what_the_example_declares() -> None:
    found = {
        (document["kind"], document["metadata"]["name"])
        for file in QUICKSTART.glob("*.yaml")
        for document in yaml.safe_load_all(file.read_text())
    }
    named = [("Namespace", NAMESPACE), ("KafkaCluster", CLUSTER), ("KafkaTopic", TOPIC), ("KafkaUser", USER)]
    assert found == {*named, ("RoleBinding", SECRETS_ROLE)}


def test_what_to_try_next_is_what_a_shell_and_kubectl_can_read() -> None:
    steps = _next_steps("other", Upgrade({}, roll_s=1.0, restarts=6, broker="quickstart-brokers-3"))
    (line,) = [line for line in steps.splitlines() if "measure for yourself" in line]
    script = line.partition("yourself")[2].strip()
    assert '{{index .data "librdkafka.json" | base64decode}}' in script
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


def test_the_report_has_the_figures_and_no_others() -> None:
    account = {key: 1 for _, key, _ in SHOWN} | {"stalls": [], "complete": True}
    report = Upgrade(account, roll_s=12.5, restarts=6, broker="p").report()
    assert set(report) == {
        "sent", "acknowledged", "consumed", "lost", "duplicated", "p50_ms", "p99_ms", "max_ms", "roll_s", "restarts",
    }  # fmt: skip
    assert (report["roll_s"], report["restarts"]) == (12.5, 6)


def test_a_report_that_cannot_be_written_is_told_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--report", "/nonexistent/report.json"]) == 2
    captured = capsys.readouterr()
    assert "there is no directory /nonexistent" in captured.err
    assert captured.out == ""
