"""Frozen operations carried out by real processes on a real API server: killed, fought over, frozen, deleted."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_server import ApiServer, running_api_server
from support.toy import BOARD, MARK, TOY_CRD, toy

from controlplane.api import names
from controlplane.services.operation.lock import lease_name

SECONDS = 300.0
LOCK_SECONDS = 4.0
UNVERIFIED = ssl._create_unverified_context()
"""The server on this machine signs its own certificate, and kubectl skips it too."""
PATHS = {
    "configmap": "api/v1/namespaces/{}/configmaps",
    "lease": "apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "toyrun": "apis/kfleet.dev/v1alpha1/namespaces/{}/toyruns",
}
Script = list[tuple[str, str, dict[str, str]]]
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_api_server(tmp_path_factory.mktemp("api")) as server:
        server.kubectl("apply", "-f", "-", objects=[TOY_CRD])
        server.until("get", "toyruns")
        yield server


@dataclass
class Process:
    """One operator; its log is for whoever reads a failure."""

    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Toys:
    """A namespace on the server, and the operators that a test started in it."""

    server: ApiServer
    namespace: str
    folder: Path
    operators: list[Process] = field(default_factory=list)

    def start(self, identity: str, *options: str) -> Process:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")} | {
            "KFLEET_KUBECONFIG": str(self.server.kubeconfig),
            "KFLEET_CELL_LOCK_DURATION": f"{LOCK_SECONDS:g}",
            "KFLEET_BUSY_INTERVAL": "0.1",
            "KFLEET_SETTLE_INTERVAL": "0.05",
            "KFLEET_RESYNC_INTERVAL": "1",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        path = self.folder / f"{identity}-{len(self.operators)}.log"
        command = [sys.executable, "-m", "support.toy_operator", self.namespace, identity, *options]
        with path.open("wb") as log:
            process = Process(subprocess.Popen(command, env=environment, stdout=log, stderr=log), path)
        self.operators.append(process)
        return process

    def create(self, name: str, script: Script, **spec: Any) -> None:
        run: dict[str, Any] = {"apiVersion": "kfleet.dev/v1alpha1", "kind": "ToyRun"} | toy(name, script, **spec)
        run["metadata"]["namespace"] = self.namespace
        self.server.kubectl("create", "-f", "-", objects=[run])

    def get(self, what: str, name: str) -> dict[str, Any]:
        """The object, {} when there is none. Asked many times a second: a kubectl each would take much CPU."""
        user = yaml.safe_load(self.server.kubeconfig.read_text())
        address = user["clusters"][0]["cluster"]["server"]
        request = urllib.request.Request(f"{address}/{PATHS[what].format(self.namespace)}/{name}")
        request.add_header("Authorization", f"Bearer {user['users'][0]['user']['token']}")
        try:
            with urllib.request.urlopen(request, timeout=30, context=UNVERIFIED) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise
        return found

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("toyrun", name).get("status", {})
        return found

    def board(self) -> dict[str, str]:
        found: dict[str, str] = self.get("configmap", BOARD).get("data", {})
        return found

    def put(self, key: str, value: str) -> None:
        patch = json.dumps({"data": {key: value}})
        self.server.kubectl("-n", self.namespace, "patch", "configmap", BOARD, "--type=merge", "-p", patch)

    def marks(self) -> Counter[str]:
        listed = json.loads(self.server.kubectl("-n", self.namespace, "get", "configmaps", "-l", MARK, "-o", "json"))
        return Counter(item["metadata"]["labels"][MARK] for item in listed["items"])

    def holder(self) -> str:
        return str(self.get("lease", lease_name("toy")).get("spec", {}).get("holderIdentity", ""))

    def until(self, what: str, holds: Callable[[], object], seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {one.log.name}\n{one.log.read_text()[-3000:]}" for one in self.operators)
                pytest.fail(f"never: {what}\n{json.dumps(self.status('run'), indent=1)[-3000:]}\n{logs}")
            time.sleep(0.1)

    def outcome(self, name: str = "run") -> str:
        self.until(f"{name} is over", lambda: self.status(name).get("lastOperation", {}).get("outcome"))
        return str(self.status(name)["lastOperation"]["outcome"])


@pytest.fixture
def toys(server: ApiServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Toys]:
    namespace = f"toys-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"
    server.kubectl("create", "namespace", namespace)
    board = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BOARD, "namespace": namespace}}
    counter = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counter", "namespace": namespace}}
    objects = [board | {"data": {"b": "old", "junk": "x"}}, counter | {"data": {"count": "0"}}]
    server.kubectl("create", "-f", "-", objects=objects)
    found = Toys(server, namespace, tmp_path)
    yield found
    for operator in found.operators:
        operator.end()


SCRIPT: Script = [
    ("SetKey", "a", {"value": "1"}),
    ("Count", "counter", {}),
    ("Mark", "m", {}),
    ("SetKey", "b", {"value": "2", "before": "old"}),
]
GOOD: Script = [*SCRIPT, ("Wipe", "junk", {})]
BAD: Script = [entry for entry in SCRIPT if entry[0] != "Count"] + [("Stumble", "s", {"fails": "9"})]


@pytest.mark.parametrize(("script", "outcome"), [(GOOD, "Succeeded"), (BAD, "RolledBack")], ids=["forward", "back"])
def test_an_operator_that_is_killed_around_every_write_does_everything_once(
    toys: Toys, script: Script, outcome: str
) -> None:
    state = toys.folder / "walk.json"
    toys.start("walker", "--crash", str(state))
    toys.create("run", script, padding=20_000)
    assert toys.outcome() == outcome
    kills = Path(f"{state}.journal").read_text().splitlines()
    assert any("replace toyruns/status" in kill for kill in kills)
    assert any("create configmaps" in kill for kill in kills)
    phases = Counter(kill.split()[1] for kill in kills)
    assert phases["before"] >= 10
    assert phases["after"] >= 10
    if outcome == "Succeeded":
        assert toys.board() == {"a": "1", "b": "2"}
        assert toys.get("configmap", "counter")["data"] == {"count": "1"}
        assert toys.marks() == Counter(m=1)
    else:
        assert toys.board() == {"b": "old", "junk": "x"}
        assert toys.marks() == Counter()
    keys = [(entry["step"], entry.get("attempt", 1)) for entry in toys.status("run")["lastOperation"]["journal"]]
    assert len(keys) == len(set(keys))


SLOW_MARKS: Script = [("Mark", f"m{number}", {"slow": "0.4"}) for number in range(6)]


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "control without"])
def test_two_operators_that_fight_for_one_cell_do_each_step_once(toys: Toys, *, locks: bool) -> None:
    """In the control both are seen in the middle of the first act before either may end it."""
    options: Sequence[str] = () if locks else ("--no-locks",)
    both = [toys.start(identity, *options) for identity in ("one", "two")]
    gate = {} if locks else {"gate": "open"}
    toys.create("run", [("Mark", "m0", {"slow": "0.4"} | gate), *SLOW_MARKS[1:]])
    toys.create("other", [("Mark", f"o{number}", {"slow": "0.4"}) for number in range(4)])
    if not locks:
        toys.until("both are at it", lambda: all("act m0 waits" in one.log.read_text() for one in both))
        toys.put("open", "now")
    assert toys.outcome() == "Succeeded"
    assert toys.outcome("other") == "Succeeded"
    once = Counter({f"m{number}": 1 for number in range(6)} | {f"o{number}": 1 for number in range(4)})
    if locks:
        assert toys.marks() == once
    else:
        assert sum(toys.marks().values()) > 10, "without the lock something is done twice"


def test_a_holder_that_is_killed_is_succeeded_after_its_duration(toys: Toys) -> None:
    first = toys.start("one")
    toys.create("run", [("Mark", "m", {}), ("AwaitKey", "k", {}), ("Mark", "last", {})])
    toys.until("the second step is under way", lambda: toys.board().get("k") == "begun")
    assert toys.holder().endswith("/one")
    first.signal(signal.SIGKILL)
    first.process.wait()
    killed = time.monotonic()
    toys.start("two")
    toys.put("k", "go")
    assert toys.outcome() == "Succeeded"
    assert time.monotonic() - killed > LOCK_SECONDS * 0.5, "not before nobody had renewed for a whole duration"
    assert toys.marks() == Counter(m=1, last=1)


def test_a_holder_that_is_frozen_past_takeover_and_wakes_writes_nothing_more(toys: Toys) -> None:
    first = toys.start("one")
    toys.create("run", [("Mark", "m", {"gate": "open"}), ("AwaitKey", "k", {}), ("Mark", "last", {})])
    toys.until("the first act is under way", lambda: "act m waits" in first.log.read_text())
    first.signal(signal.SIGSTOP)
    assert toys.marks() == Counter(), "frozen in the middle of its act, before it wrote"
    toys.put("open", "now")
    toys.start("two")
    toys.until("the other took over", lambda: toys.holder().endswith("/two"))
    toys.until("the other goes on", lambda: toys.board().get("k") == "begun")
    first.signal(signal.SIGCONT)
    toys.until("the first has noticed", lambda: "no longer surely ours" in first.log.read_text())
    toys.put("k", "go")
    assert toys.outcome() == "Succeeded"
    assert toys.marks() == Counter(m=1, last=1)
    assert first.process.poll() is None


@pytest.fixture(scope="module")
def controllers(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The controllers that delete namespaces and what deleted owners leave behind."""
    folder = tmp_path_factory.mktemp("controllers")
    command = [
        *(str(server.programs / "kube-controller-manager"), "--kubeconfig", str(server.kubeconfig)),
        *("--controllers", "namespace-controller,garbage-collector-controller", "--leader-elect=false"),
        *("--authentication-skip-lookup", "--secure-port=0", "--cert-dir", str(folder)),
    ]
    with (folder / "controllers.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    yield
    process.terminate()
    process.wait(20)


@pytest.mark.parametrize("padding", [0, 20_000], ids=["small", "large plan"])
def test_a_run_deleted_in_the_middle_is_undone_first_and_then_goes(toys: Toys, padding: int) -> None:
    toys.start("one")
    toys.create("run", [("Mark", "m", {}), ("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {})], padding=padding)
    toys.until("it is in the middle", lambda: toys.board().get("k") == "begun")
    assert names.CELL_FINALIZER in toys.get("toyrun", "run")["metadata"]["finalizers"]
    toys.server.kubectl("-n", toys.namespace, "delete", "toyrun", "run", "--timeout=60s")
    assert toys.marks() == Counter()
    assert toys.board() == {"b": "old", "junk": "x"}


@pytest.mark.parametrize("padding", [0, 20_000], ids=["small", "large plan"])
@pytest.mark.usefixtures("controllers")
def test_a_namespace_deleted_in_the_middle_is_undone_and_does_not_hang(toys: Toys, padding: int) -> None:
    """The Lease, Events and ConfigMaps of the namespace go at once, and no new ones can be made; the board is kept by a
    finalizer of the test's, so that one can see what was undone."""
    first = toys.start("one")
    toys.create("run", [("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {})], padding=padding)
    toys.until("it is in the middle", lambda: toys.board().get("k") == "begun")
    pin = json.dumps({"metadata": {"finalizers": ["test.kfleet.dev/pin"]}})
    toys.server.kubectl("-n", toys.namespace, "patch", "configmap", BOARD, "--type=merge", "-p", pin)
    first.signal(signal.SIGKILL)
    first.process.wait()
    toys.server.kubectl("delete", "namespace", toys.namespace, "--wait=false")
    toys.until("the Lease is gone", lambda: not toys.get("lease", lease_name("toy")))
    assert toys.board()["a"] == "1"
    toys.start("one")
    toys.until("the run is gone", lambda: not toys.get("toyrun", "run"))
    assert toys.board() == {"b": "old", "junk": "x"}, "undone before it went"
    unpin = json.dumps({"metadata": {"finalizers": []}})
    toys.server.kubectl("-n", toys.namespace, "patch", "configmap", BOARD, "--type=merge", "-p", unpin)
    toys.server.kubectl("wait", "--for=delete", f"namespace/{toys.namespace}", "--timeout=60s")


@pytest.mark.usefixtures("controllers")
def test_what_cannot_be_undone_any_more_does_not_keep_a_namespace(toys: Toys) -> None:
    """The board goes with the namespace, so that undoing fails for ever; after a while it is given up."""
    toys.start("one", "--abandon", "5")
    toys.create("run", [("SetKey", "a", {"value": "1"}), ("AwaitKey", "k", {})])
    toys.until("it is in the middle", lambda: toys.board().get("k") == "begun")
    toys.server.kubectl("delete", "namespace", toys.namespace, "--wait=false")
    toys.server.kubectl("wait", "--for=delete", f"namespace/{toys.namespace}", "--timeout=120s")
