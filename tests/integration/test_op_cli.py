"""`kfleet op` as a process against a real API server; the test plays the operator and writes the statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.api_server import ApiServer, running_api_server
from support.reads import reader
from support.sandbox import wait
from support.warm_cli import WarmCli

from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.api.operation import Operation
from controlplane.ports import OperationRecord
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

ROOT = Path(__file__).parents[2]
KFLEET = Path(sys.executable).parent / "kfleet"
SPACE = "op-cli"
BEGAN = "2026-01-02T03:04:05Z"

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_api_server(tmp_path_factory.mktemp("op-cli")) as server:
        server.kubectl("apply", "-f", str(ROOT / "charts" / "kfleet"))
        server.until("get", "kafkaclusters.kfleet.dev")  # an Established CRD is served a moment later
        server.kubectl("create", "namespace", SPACE)
        yield server


@pytest.fixture(autouse=True)
def nothing_left(server: ApiServer) -> Iterator[None]:
    yield
    server.kubectl("delete", "kfc", "--all", "-n", SPACE)


def op(server: ApiServer, *arguments: str) -> list[str]:
    return ["op", arguments[0], "--kubeconfig", str(server.kubeconfig), "-n", SPACE, *arguments[1:]]


Kfleet = Callable[..., Done]


@pytest.fixture
def kfleet(server: ApiServer, warm: WarmCli) -> Kfleet:
    """`kfleet op` with these arguments; `ledger` is what it is told of one."""

    def call(*arguments: str, ledger: str = "") -> Done:
        told = {name: value for name, value in os.environ.items() if not name.startswith("KFLEET_")}
        told |= {"KFLEET_LEDGER_URL": ledger} if ledger else {}
        done = warm.run(op(server, *arguments), told | {"XDG_STATE_HOME": str(server.kubeconfig.parent / "state")})
        return Done(done.returncode, done.stdout, done.stderr)

    return call


def cluster(server: ApiServer, name: str, **status: Any) -> None:
    """A KafkaCluster of that name with this status, made anew."""
    server.try_kubectl("delete", "kfc", name, "-n", SPACE, "--wait=true")
    pool = {
        "name": "nodes",
        "roles": ["Controller", "Broker"],
        "replicas": 3,
        "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
    }
    spec = {
        "provider": {"type": "Pods"},
        "version": "4.3.1",
        "nodePools": [pool],
        "listeners": [{"name": "clients", "port": 9092}],
    }
    body = {"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaCluster", "metadata": {"name": name}, "spec": spec}
    server.kubectl("create", "-n", SPACE, "-f", "-", objects=[body])
    if status:
        write(server, name, **status)


def write(server: ApiServer, name: str, **status: Any) -> None:
    patch = json.dumps({"status": status})
    server.kubectl("patch", "kfc", name, "-n", SPACE, "--subresource=status", "--type=merge", "-p", patch)


def annotations_of(server: ApiServer, name: str) -> dict[str, str]:
    found = reader(server.kubeconfig).get(KAFKA_CLUSTERS, name, SPACE)
    return dict(found["metadata"].get("annotations", {}))


def operation(identity: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "kind": "Roll",
        "mode": "Replanned",
        "planHash": f"sha256:{'ab' * 32}",
        "goal": "Version 4.2.0 to 4.3.1",
        "startedAt": BEGAN,
    } | more


def step(number: int, verb: str, target: str = "", **more: Any) -> dict[str, Any]:
    return {"id": number, "verb": verb, "target": target} | more


def entry(number: int, verb: str, target: str, outcome: str = "Done") -> dict[str, Any]:
    return {"step": number, "attempt": 1, "verb": verb, "target": target, "outcome": outcome, "at": BEGAN}


def blocked(reason: str) -> list[dict[str, Any]]:
    return [{"type": "Blocked", "status": "True", "reason": reason, "message": "x", "lastTransitionTime": BEGAN}]


CHECK = {"name": "WouldStopWrites", "evidence": "3 partitions would stop.", "remedy": "Wait."}


def test_list_shows_what_needs_somebody_first(server: ApiServer, kfleet: Kfleet) -> None:
    cluster(server, "moving", operation=operation("roll-1-moving", step=step(2, "Awaiting", "3")))
    cluster(
        server,
        "stuck",
        conditions=blocked("WouldStopWrites"),
        operation=operation("roll-1-stuck", step=step(2, "Blocked", checks=[CHECK])),
    )
    cluster(server, "ended", lastOperation=operation("roll-1-ended", outcome="Succeeded", endedAt=BEGAN))
    cluster(server, "asking", conditions=blocked("AwaitingApproval"), operation=operation("roll-1-asking"))
    cluster(server, "quiet")
    done = kfleet("list")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert [row[2] for row in rows] == ["ID", "roll-1-asking", "roll-1-stuck", "roll-1-moving", "roll-1-ended"]
    assert rows[2][3:5] == ["Blocked", "(WouldStopWrites)"]
    document = json.loads(kfleet("list", "-o", "json").out)
    assert (document["apiVersion"], document["kind"]) == ("cli.kfleet.dev/v1", "OperationList")
    assert [item["state"] for item in document["items"]] == ["AwaitingApproval", "Blocked", "UnderWay", "Succeeded"]
    assert kfleet("list", "-o", "name").out.split() == [row[2] for row in rows[1:]]
    server.kubectl("delete", "kfc", "--all", "-n", SPACE)
    empty = kfleet("list")
    assert (empty.code, empty.out, empty.err) == (0, "", f"no operations in namespace {SPACE}\n")


def test_show_has_all_that_is_known(server: ApiServer, kfleet: Kfleet) -> None:
    journal = [entry(1, "Stopping", "1"), entry(2, "Awaiting", "1")]
    here = step(3, "Blocked", checks=[CHECK])
    cluster(
        server,
        "shown",
        conditions=blocked("WouldStopWrites"),
        operation=operation("roll-1-shown", step=here, journal=journal),
    )
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "shown-cell"},
        "spec": {"holderIdentity": "roll-1-shown/operator-7", "renewTime": "2026-01-02T03:04:05.000000Z"},
    }
    assert "cell: nobody has it" in kfleet("show", "roll-1-shown").out
    server.kubectl("create", "-n", SPACE, "-f", "-", objects=[lease])
    done = kfleet("show", "roll-1-shown")
    assert done.code == 0, done.err
    for words in (
        "roll-1-shown: Version 4.2.0 to 4.3.1",
        f"KafkaCluster {SPACE}/shown",
        "held by roll-1-shown through operator-7",
        "Stopping 1",
        "WouldStopWrites",
        "3 partitions would stop.",
        "kfleet op cancel roll-1-shown",
        "kfleet explain WouldStopWrites",
    ):
        assert words in done.out
    assert kfleet("show", "shown").out == done.out
    assert kfleet("show", "kafkacluster/shown").out == done.out


@pytest.mark.parametrize("command_", ["show", "watch", "cancel", "resume"])
def test_a_wrong_id_names_the_nearest(server: ApiServer, kfleet: Kfleet, command_: str) -> None:
    cluster(server, "near", operation=operation("roll-1-nearby"))
    done = kfleet(command_, "roll-1-naerby")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"kfleet: no operation roll-1-naerby in namespace {SPACE}; did you mean roll-1-nearby?\n"


class Watching:
    """`kfleet op watch` in the background."""

    def __init__(self, server: ApiServer, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(KFLEET), *op(server, "watch", *arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines += self.process.stderr

    def says(self, words: str) -> None:
        wait(words, lambda: words in "".join(self._so_far()))

    def _so_far(self) -> list[str]:
        return list(self.lines)

    def end(self) -> Done:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(300)
        self._reader.join(60)
        return Done(code, out, "".join(self.lines))


def test_watch_tells_each_change_once_and_ends_with_the_operation(server: ApiServer) -> None:
    cluster(server, "watched", operation=operation("roll-1-watched", step=step(1, "Stopping", "1")))
    watching = Watching(server, "roll-1-watched", "-o", "json")
    watching.says("step 1: Stopping 1")
    waiting = step(2, "Awaiting", "1", checks=[CHECK])
    journal = [entry(1, "Stopping", "1")]
    write(server, "watched", operation=operation("roll-1-watched", step=waiting, journal=journal))
    watching.says("waits: WouldStopWrites: 3 partitions would stop. Wait.")
    moved = waiting | {"checks": [CHECK | {"evidence": "2 partitions would stop."}]}
    write(server, "watched", operation=operation("roll-1-watched", step=moved, journal=journal))
    ended = operation(
        "roll-1-watched", outcome="Succeeded", endedAt=BEGAN, journal=[*journal, entry(2, "Awaiting", "1")]
    )
    write(server, "watched", operation=None, lastOperation=ended)
    done = watching.end()
    assert done.code == 0, done.err
    assert json.loads(done.out)["operation"]["outcome"] == "Succeeded"
    assert done.err.count("Done") == 2
    assert done.err.count("waits: WouldStopWrites") == 1
    assert "roll-1-watched: Succeeded" in done.err.splitlines()[-1]
    assert "\x1b" not in done.err
    assert done.err.splitlines()[0] == (
        "no operator seems to be at work (Nobody holds Lease kfleet/kfleet-operator.); --local does its work from here"
    )


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("Succeeded", 0), ("Denied", 4), ("Failed", 1), ("RolledBack", 1), ("Cancelled", 1), ("Superseded", 1)],
)
def test_the_exit_code_is_the_outcome(server: ApiServer, kfleet: Kfleet, outcome: str, code: int) -> None:
    cluster(server, "over", lastOperation=operation("roll-1-over", outcome=outcome, endedAt=BEGAN))
    done = kfleet("watch", "roll-1-over", "-o", "name")
    assert (done.code, done.out) == (code, "roll-1-over\n")


@pytest.mark.parametrize(
    ("reason", "code"), [("AwaitingApproval", 5), ("ApprovalInvalid", 5), ("WouldStopWrites", 3), (None, 3)]
)
def test_when_the_time_is_up_the_code_says_what_it_waits_for(
    server: ApiServer, kfleet: Kfleet, reason: str | None, code: int
) -> None:
    cluster(server, "waits", conditions=blocked(reason) if reason else [], operation=operation("roll-1-waits"))
    done = kfleet("watch", "roll-1-waits", "--timeout", "1")
    assert done.code == code, done.err
    assert "roll-1-waits has not ended within 1 s" in done.err


def test_watch_ends_when_its_object_goes_or_goes_on(server: ApiServer) -> None:
    cluster(server, "gone", operation=operation("roll-1-gone"))
    watching = Watching(server, "roll-1-gone")
    watching.says("roll-1-gone")
    server.kubectl("delete", "kfc", "gone", "-n", SPACE)
    done = watching.end()
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == f"kfleet: KafkaCluster {SPACE}/gone was deleted, and roll-1-gone with it"
    cluster(server, "on", operation=operation("roll-1-on"))
    watching = Watching(server, "roll-1-on")
    watching.says("roll-1-on")
    write(server, "on", operation=operation("roll-3-on"), lastOperation=None)
    done = watching.end()
    assert done.code == 1
    assert "has gone on from roll-1-on; `kfleet op list` shows where to" in done.err


def test_cancel_and_resume_set_one_annotation_each(server: ApiServer, kfleet: Kfleet) -> None:
    intent = {"uid": "u", "at": BEGAN}
    under_way = operation("roll-1-word", step=step(2, "Stopping", "3"), intent=intent)
    cluster(server, "word", operation=under_way)
    refused = kfleet("cancel", "roll-1-word")
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == (
        "kfleet: this asks before it changes anything: use a terminal, or say --yes"
    )
    assert annotations_of(server, "word") == {}
    done = kfleet("cancel", "roll-1-word", "--yes")
    assert (done.code, done.out) == (0, ""), done.err
    assert "Step 2 (Stopping 3) was begun: it is finished or undone first." in done.err
    assert annotations_of(server, "word") == {"kfleet.dev/cancel": "roll-1-word"}
    assert "was cancelled already" in kfleet("cancel", "roll-1-word").err
    server.kubectl("annotate", "kfc", "word", "-n", SPACE, "kfleet.dev/paused=true", "keep=me")
    write(server, "word", operation=None, lastOperation=under_way | {"outcome": "Cancelled", "endedAt": BEGAN})
    done = kfleet("resume", "word", "--yes")
    assert done.code == 0, done.err
    assert "no longer cancelled or paused" in done.err
    assert annotations_of(server, "word") == {"keep": "me"}
    over = kfleet("resume", "word", "--yes")
    assert (over.code, over.err) == (1, "kfleet: roll-1-word has ended (Cancelled) and was not cancelled\n")


def test_cancel_of_what_has_ended_is_refused(server: ApiServer, kfleet: Kfleet) -> None:
    cluster(server, "past", lastOperation=operation("roll-1-past", outcome="Succeeded", endedAt=BEGAN))
    done = kfleet("cancel", "past", "--yes")
    assert (done.code, done.err) == (1, "kfleet: roll-1-past has ended already (Succeeded)\n")
    assert annotations_of(server, "past") == {}


def test_cancel_waits_for_the_end(server: ApiServer, kfleet: Kfleet) -> None:
    cluster(server, "waited", operation=operation("roll-1-waited", step=step(1, "Stopping", "1")))

    def play() -> None:
        wait("the annotation", lambda: annotations_of(server, "waited"))
        ended = operation("roll-1-waited", outcome="Cancelled", endedAt=BEGAN)
        write(server, "waited", operation=None, lastOperation=ended)

    operator = threading.Thread(target=play)
    operator.start()
    done = kfleet("cancel", "waited", "--yes", "--wait")
    operator.join()
    assert done.code == 0, done.err
    assert "roll-1-waited: Cancelled" in done.err


def test_resume_waits_for_what_begins_again(server: ApiServer, kfleet: Kfleet) -> None:
    cancelled = operation("roll-1-again", outcome="Cancelled", endedAt=BEGAN)
    cluster(server, "again", conditions=blocked("Cancelled"), lastOperation=cancelled)
    server.kubectl("annotate", "kfc", "again", "-n", SPACE, "kfleet.dev/cancel=roll-1-again")

    def play() -> None:
        wait("the word taken back", lambda: not annotations_of(server, "again"))
        write(server, "again", conditions=[], operation=operation("roll-1-again", step=step(1, "Stopping", "1")))
        ended = operation("roll-1-again", outcome="Succeeded", endedAt="2026-01-02T04:04:05Z")
        write(server, "again", operation=None, lastOperation=ended)

    operator = threading.Thread(target=play)
    operator.start()
    done = kfleet("resume", "again", "--yes", "--wait")
    operator.join()
    assert done.code == 0, done.err
    assert "roll-1-again: Succeeded" in done.err


def test_all_adds_what_only_the_ledger_knows(server: ApiServer, kfleet: Kfleet, tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    writer = SqlLedger(ledger, timeout=5, migrate=True)
    subject, cell = f"KafkaCluster {SPACE}/kept", f"{SPACE}/kept"
    old = Operation.model_validate(operation("roll-1-old", outcome="Succeeded", endedAt=BEGAN))
    writer.record_operation(OperationRecord("u-1", subject, cell, old))
    writer.record_operation(OperationRecord("u-1", subject, cell, Operation.model_validate(operation("roll-2-cut"))))
    elsewhere = OperationRecord("u-2", "KafkaCluster other/x", "other/x", old.model_copy(update={"id": "roll-1-far"}))
    writer.record_operation(elsewhere)
    cluster(server, "kept", operation=operation("roll-3-now"))
    assert kfleet("list", "-o", "name", ledger=ledger).out.split() == ["roll-3-now"]
    done = kfleet("list", "--all", "-o", "json", ledger=ledger)
    assert done.code == 0, done.err
    rows = [(item["id"], item["state"], item["source"]) for item in json.loads(done.out)["items"]]
    assert rows[0] == ("roll-3-now", "UnderWay", "Status")
    assert sorted(rows[1:]) == [("roll-1-old", "Succeeded", "Ledger"), ("roll-2-cut", "EndNotRecorded", "Ledger")]
    everywhere = kfleet("list", "--all", "-A", "-o", "name", ledger=ledger)
    assert "roll-1-far" in everywhere.out.split()
    assert kfleet("list", "--all").code == 2


def test_cancelling_and_resuming_are_recorded_first(server: ApiServer, kfleet: Kfleet, tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    SqlLedger(ledger, timeout=5, migrate=True).remove_older_than(0)
    cluster(server, "noted", operation=operation("roll-1-noted"))
    assert kfleet("cancel", "noted", "--yes", ledger=ledger).code == 0
    assert kfleet("resume", "noted", "--yes", ledger=ledger).code == 0
    reader = LedgerReader(ledger, timeout=5)
    told = [(entry.actor, entry.action, entry.operation) for entry in reader.newest(Wanted(), limit=10)]
    reader.close()
    assert told == [("admin", "op resume", "roll-1-noted"), ("admin", "op cancel", "roll-1-noted")]


def test_without_its_ledger_a_cancel_goes_through_and_a_resume_does_not(server: ApiServer, kfleet: Kfleet) -> None:
    gone = "postgresql+psycopg://u:secret@127.0.0.1:1/x"
    cluster(server, "urgent", operation=operation("roll-1-urgent"))
    done = kfleet("cancel", "urgent", "--yes", ledger=gone)
    assert done.code == 0, done.err
    assert annotations_of(server, "urgent") == {"kfleet.dev/cancel": "roll-1-urgent"}
    refused = kfleet("resume", "urgent", "--yes", ledger=gone)
    assert refused.code == 1
    assert "nothing was done" in refused.err.splitlines()[-1]
    assert "secret" not in done.err + refused.err
    assert annotations_of(server, "urgent") == {"kfleet.dev/cancel": "roll-1-urgent"}
