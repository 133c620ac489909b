"""`kfleet pending | approve | deny` as processes, typed by real users against a real API server and the real engine."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.api_server import ApiServer
from support.people import POLICIES, approval, approval_server, cluster, in_force
from support.pretend_roll import operating, waiting_operation
from support.reads import reader
from support.sandbox import wait
from support.warm_cli import WarmCli

from controlplane.api import names
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

KFLEET = Path(sys.executable).parent / "kfleet"
SECONDS = 300.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cli:
    """The command line as one user."""

    server: ApiServer
    user: str
    state: Path
    warm: WarmCli

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.warm.run(arguments, self._environment(environment))

    def typing(self, words: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """At a terminal, with these words typed."""
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, words.encode())
            return self.warm.run(arguments, self._environment({}), os.ttyname(terminal))
        finally:
            os.close(keyboard)
            os.close(terminal)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")}
        person = {"KUBECONFIG": str(self.server.as_user(self.user).kubeconfig), "XDG_STATE_HOME": str(self.state)}
        return clean | person | more


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with approval_server(tmp_path_factory.mktemp("approvals-cli")) as running, operating(running):
        yield running


@dataclass(frozen=True)
class Asked:
    """A cluster whose version alice has changed; its roll waits."""

    server: ApiServer
    name: str
    uid: str
    operation: str
    plan: str
    state: Path
    warm: WarmCli

    def by(self, user: str) -> Cli:
        return Cli(self.server, user, self.state, self.warm)

    def status(self) -> dict[str, Any]:
        return status(self.server, self.name)

    def approvals(self) -> list[dict[str, Any]]:
        found = json.loads(self.server.kubectl("-n", "kafka", "get", "kfa", "-o", "json"))["items"]
        return [item for item in found if item["spec"]["targetRef"]["name"] == self.name]


def status(server: ApiServer, name: str) -> dict[str, Any]:
    found = reader(server.kubeconfig).get(KAFKA_CLUSTERS, name, "kafka")
    current = found.get("status") or {}
    return current if current.get("observedGeneration") == found["metadata"]["generation"] else {}


def ask(server: ApiServer, user: str, name: str, version: str = "4.3.1") -> None:
    change = {"metadata": {"annotations": {names.REQUESTED_BY: user}}, "spec": {"version": version}}
    person = server.as_user(user)
    person.kubectl("-n", "kafka", "patch", f"kfc/{name}", "--type=merge", "-p", json.dumps(change))


def asked_by(server: ApiServer, user: str, state: Path, warm: WarmCli) -> Asked:
    name = f"cell-{next(_numbers)}"
    server.as_user(user).kubectl("create", "-f", "-", objects=[cluster(name, by=user)])
    wait("the version is known", lambda: status(server, name).get("version"))
    ask(server, user, name)
    operation = wait("the roll waits", lambda: waiting_operation(status(server, name)))
    uid = server.kubectl("-n", "kafka", "get", f"kfc/{name}", "-o", "jsonpath={.metadata.uid}")
    return Asked(server, name, uid, operation["id"], operation["planHash"], state, warm)


@pytest.fixture
def asked(server: ApiServer, tmp_path: Path, warm: WarmCli) -> Iterator[Asked]:
    one = asked_by(server, "alice", tmp_path, warm)
    yield one
    server.kubectl("-n", "kafka", "delete", f"kfc/{one.name}")


def one_line(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    """Refused: the exit code, nothing on stdout, one line that says why."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("kfleet: ")
    for words in says:
        assert words in done.stderr


def test_pending_shows_who_asked_for_what(asked: Asked) -> None:
    done = asked.by("bob")("pending", "-n", "kafka")
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["NAMESPACE", "OBJECT", "ID", "REQUESTED-BY", "WAITING", "GOAL"]
    (row,) = (row for row in rows if asked.operation in row)
    assert row.split()[:4] == ["kafka", f"kafkacluster/{asked.name}", asked.operation, "alice"]
    assert "alice (you)" in asked.by("alice")("pending", "-n", "kafka").stdout
    assert asked.operation in asked.by("bob")("pending", "-n", "kafka", "-o", "name").stdout.split()
    document = json.loads(asked.by("alice")("pending", "-n", "kafka", "-o", "json").stdout)
    assert (document["apiVersion"], document["kind"]) == ("cli.kfleet.dev/v1", "PendingApprovalList")
    (item,) = (item for item in document["items"] if item["id"] == asked.operation)
    since, message = item.pop("since"), item.pop("message")
    assert since.endswith("Z")
    assert "needs an approval; alice asked for it" in message
    assert item == {
        "id": asked.operation,
        "object": {"kind": "KafkaCluster", "namespace": "kafka", "name": asked.name, "uid": asked.uid},
        "goal": "Version 4.3.1",
        "planHash": asked.plan,
        "requestedBy": "alice",
        "own": True,
        "reason": "AwaitingApproval",
    }


def test_pending_everywhere_takes_the_right_to_list_everywhere(asked: Asked) -> None:
    one_line(asked.by("bob")("pending", "-A"), 4, 'User "bob" cannot list resource "kafkaclusters"')
    admin = asked.warm.run(["pending", "-A", "--kubeconfig", str(asked.server.kubeconfig)], os.environ)
    assert asked.operation in admin.stdout


def test_approve_shows_the_plan_and_it_goes_on(asked: Asked) -> None:
    done = asked.by("bob")("approve", asked.operation, "-n", "kafka", "--reason", "looks right", "--yes", "--wait")
    assert done.returncode == 0, done.stderr
    (made,) = asked.approvals()
    meta, spec = made["metadata"], made["spec"]
    assert spec == {
        "targetRef": {"kind": "KafkaCluster", "name": asked.name, "uid": asked.uid},
        "planHash": asked.plan,
        "decision": "Approve",
        "approver": "bob",
        "reason": "looks right",
    }
    assert [owner["uid"] for owner in meta["ownerReferences"]] == [asked.uid]
    header, row = done.stdout.splitlines()
    assert header.split() == ["NAME", "DECISION", "TARGET", "APPROVER"]
    assert row.split() == [meta["name"], "Approve", asked.name, "bob"]
    assert f"{asked.operation}: Version 4.3.1" in done.stderr
    assert "asked for by alice" in done.stderr
    assert asked.plan[:19] in done.stderr
    assert f"{asked.operation} goes on under Approval {meta['name']}" in done.stderr
    ended = wait("the roll ends", lambda: asked.status().get("lastOperation"))
    assert (ended["outcome"], ended["approval"]) == ("Succeeded", meta["name"])
    one_line(asked.by("bob")("approve", asked.operation, "-n", "kafka", "--yes"), 1, "has ended (Succeeded)")


@pytest.mark.parametrize("spelling", ["{name}", "kafkacluster/{name}"])
def test_a_target_by_its_cluster(asked: Asked, spelling: str) -> None:
    target = spelling.format(name=asked.name)
    done = asked.by("bob")("approve", target, "-n", "kafka", "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["apiVersion"], document["kind"]) == ("cli.kfleet.dev/v1", "Approval")
    assert document["spec"]["planHash"] == asked.plan


def test_a_person_is_asked_and_may_say_no(asked: Asked) -> None:
    bob = asked.by("bob")
    refused = bob.typing("n\n", "approve", asked.operation, "-n", "kafka")
    assert refused.returncode == 1
    assert f"approve {asked.operation} of KafkaCluster kafka/{asked.name}? [y/N]" in refused.stderr
    assert refused.stderr.endswith("nothing was done\n")
    assert asked.approvals() == []
    done = bob.typing("y\n", "approve", asked.operation, "-n", "kafka")
    assert done.returncode == 0, done.stderr
    assert len(asked.approvals()) == 1


def test_nobody_to_ask_is_a_usage_error(asked: Asked) -> None:
    done = asked.by("bob")("approve", asked.operation, "-n", "kafka")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith("use a terminal, or say --yes")
    assert asked.approvals() == []


def test_said_twice_is_said_once(asked: Asked) -> None:
    with_state_kept = ("approve", asked.operation, "-n", "kafka", "--yes", "-o", "name")
    asked.server.as_user("erin").kubectl(
        "-n", "kafka", "annotate", f"kfc/{asked.name}", f"{names.PAUSED}=true"
    )  # so that it does not begin meanwhile
    wait("it is paused", lambda: len(asked.status()["operation"]["step"]["checks"]) == 2)
    first = asked.by("bob")(*with_state_kept)
    assert first.returncode == 0, first.stderr
    (made,) = asked.approvals()
    assert first.stdout == f"approval.kfleet.dev/{made['metadata']['name']}\n"
    wait("it counts", lambda: len(asked.status()["operation"]["step"]["checks"]) == 1)
    again = asked.by("bob")(*with_state_kept)
    one_line(again, 1, f"goes on already, under Approval {made['metadata']['name']}")
    assert len(asked.approvals()) == 1


REFUSED = {
    "one's own request": ("alice", "you (alice) asked for this yourself"),
    "who may write Approvals only": ("mallory", "mallory lacks the verb approve on kafkaclusters.kfleet.dev kafka/"),
    "an approver of another cluster": ("olga", "olga lacks the verb approve on kafkaclusters.kfleet.dev kafka/"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_may_not_is_told_before_anything_is_asked(asked: Asked, case: str) -> None:
    user, says = REFUSED[case]
    one_line(asked.by(user)("approve", asked.operation, "-n", "kafka"), 4, says)
    assert asked.approvals() == []


def test_ones_own_request_even_as_an_approver(server: ApiServer, tmp_path: Path, warm: WarmCli) -> None:
    one = asked_by(server, "erin", tmp_path, warm)
    one_line(one.by("erin")("approve", one.operation, "-n", "kafka", "--yes"), 4, "somebody else has to approve it")
    assert one.by("bob")("approve", one.operation, "-n", "kafka", "--yes").returncode == 0


def test_deny_ends_it_and_approve_says_so(asked: Asked) -> None:
    done = asked.by("bob")("deny", asked.operation, "-n", "kafka", "--reason", "not today", "--yes", "--wait")
    assert done.returncode == 0, done.stderr
    (made,) = asked.approvals()
    assert (made["spec"]["decision"], made["spec"]["reason"]) == ("Deny", "not today")
    assert asked.status()["lastOperation"]["outcome"] == "Denied"
    after = asked.by("erin")("approve", asked.operation, "-n", "kafka", "--yes")
    one_line(after, 4, "was denied", "bob denied the plan", "not today")


def test_wait_says_what_it_still_waits_for(asked: Asked) -> None:
    """An Approval that admission let in and that does not count: here the policies were not there."""
    approve = ("approve", asked.operation, "-n", "kafka", "--yes")
    asked.server.kubectl("delete", "validatingadmissionpolicybinding", "kafkacluster-requester.kfleet.dev")
    try:
        given = asked.by("bob")(*approve)
        assert given.returncode == 0, given.stderr
        wait("the operator has judged it", lambda: "proves nothing" in str(asked.status()["operation"]["step"]))
        done = asked.by("bob")(*approve, "--wait", "--timeout", "1")
        assert done.returncode == 5, done.stderr
        assert "not taken up within 1 s" in done.stderr
        assert "proves nothing: ValidatingAdmissionPolicyBinding kafkacluster-requester.kfleet.dev" in done.stderr
    finally:
        asked.server.kubectl("apply", "-f", POLICIES)
        in_force(asked.server)


def test_somebody_has_denied_it(asked: Asked) -> None:
    asked.server.as_user("erin").kubectl(
        "create",
        "-f",
        "-",
        objects=[approval("no", by="erin", uid=asked.uid, target=asked.name, planHash=asked.plan, decision="Deny")],
    )
    done = asked.by("bob")("approve", asked.operation, "-n", "kafka", "--yes", "--wait")
    assert done.returncode == 4, done.stderr


def test_what_does_not_wait_is_not_approved(server: ApiServer, tmp_path: Path, warm: WarmCli) -> None:
    bob = Cli(server, "bob", tmp_path, warm)
    one_line(bob("approve", "roll-9-nothing", "-n", "kafka", "--yes"), 1, "no operation roll-9-nothing")
    one_line(bob("approve", "nowhere", "-n", "kafka", "--yes"), 1, "no operation nowhere")


def test_the_ledger_knows_before_it_is_done(asked: Asked, tmp_path: Path) -> None:
    """And without the ledger that is configured nothing is done."""
    away = {"KFLEET_LEDGER_URL": "postgresql+psycopg://kfleet:hunter2@127.0.0.1:9/kfleet"}
    done = asked.by("bob")("approve", asked.operation, "-n", "kafka", "--yes", **away)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing was done, because it has to be recorded first" in done.stderr.splitlines()[-1]
    assert "hunter2" not in done.stderr
    assert asked.approvals() == []
    there = {"KFLEET_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
    assert asked.by("bob")("audit", "upgrade", "--yes", **there).returncode == 0
    done = asked.by("bob")("approve", asked.operation, "-n", "kafka", "--yes", **there)
    assert done.returncode == 0, done.stderr
    listed = asked.by("bob")("audit", "list", "-o", "json", **there)
    (event,) = json.loads(listed.stdout)["items"]
    assert {"bob", "Approve", f"KafkaCluster kafka/{asked.name}"} <= {v for v in event.values() if isinstance(v, str)}


def test_the_commands_of_the_page_work(server: ApiServer, tmp_path: Path) -> None:
    """docs/approvals.md as an administrator types it: rights, the request in alice's name, then each decision."""
    page = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text()
    rights, request, decisions, waivers = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    look, approve, deny = decisions.splitlines()
    said = [(deny, "Denied"), *((command, "Succeeded") for command in (approve, *waivers.splitlines()))]

    def shell(commands: str) -> str:
        keyboard, terminal = pty.openpty()
        os.write(keyboard, b"y\n")
        programs = f"{KFLEET.parent}:{server.programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            env=os.environ | server.environment | {"PATH": programs},
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        os.close(keyboard)
        os.close(terminal)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shell(rights)
    server.as_user("alice").kubectl("create", "-f", "-", objects=[cluster("orders", by="alice")])
    wait("the version is known", lambda: status(server, "orders").get("version"))
    for number, (decision, outcome) in enumerate(said):
        shell(request.replace("4.3.1", f"4.3.{1 + number}"))
        operation = wait("the roll waits", lambda: waiting_operation(status(server, "orders")))
        assert operation["id"] in shell(look)
        shell(decision)

        def ended(operation: dict[str, Any] = operation) -> str:
            last = status(server, "orders").get("lastOperation") or {}
            return last.get("outcome", "") if last.get("id") == operation["id"] else ""

        assert wait("it has ended", ended) == outcome
    server.kubectl("-n", "kafka", "delete", "kfc/orders")
