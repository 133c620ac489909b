"""The roll as an operation, on real parts: a ledger that goes away, two operators, cancel, approval, deletion.

The tests run in order on one cluster; each leaves it Ready for the next. People are ServiceAccounts with real RBAC, and
what they do they do with the CLI or kubectl.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Person, person
from support.audit import OPERATOR_USER, deleters, pods_done
from support.cell import Cell, combined_cluster
from support.postgres import Postgres, running_postgres
from support.sandbox import Sandbox

NODES = range(3)
ADMIN = "kfleet:sandbox:admin"
"""The user of the sandbox's own kubeconfig."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def recording(cell: Cell, postgres: Postgres) -> None:
    """The operator of this module keeps its ledger in PostgreSQL."""
    cell.operator.stop()
    cell.operator.settings["KFLEET_LEDGER_URL"] = postgres.url()
    cell.operator.start()


@pytest.fixture(scope="module")
def alice(cell: Cell, sandbox: Sandbox, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """She may change clusters."""
    return person(cell, sandbox, postgres.url(), tmp_path_factory.mktemp("alice"), "alice", "edit")


@pytest.fixture(scope="module")
def bob(cell: Cell, sandbox: Sandbox, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """He may approve."""
    return person(cell, sandbox, postgres.url(), tmp_path_factory.mktemp("bob"), "bob", "kfleet-approver", "view")


def restart(cell: Cell, threads: int) -> None:
    """Ask for a roll of every node."""
    cell.patch({"config": {"num.network.threads": threads}})


def deleted(cell: Cell, sandbox: Sandbox) -> Counter[str]:
    return Counter(pods_done(sandbox.paths.audit_log, OPERATOR_USER, "delete", cell.namespace))


def operation(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = cell.cluster().get("status", {}).get("operation") or {}
    return found


def last(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = cell.cluster().get("status", {}).get("lastOperation") or {}
    return found


def rolled(cell: Cell) -> bool:
    return cell.is_ready() and not operation(cell)


EACH_ONCE = Counter({f"cell-nodes-{node}": 1 for node in NODES})


def test_a_roll_goes_on_while_the_ledger_is_gone_and_is_recorded_once(
    cell: Cell, sandbox: Sandbox, postgres: Postgres, alice: Person
) -> None:
    cell.apply(combined_cluster())
    cell.wait_ready(240)
    before, uids = deleted(cell, sandbox), cell.pod_uids()
    with cell.held():
        restart(cell, 4)
        cell.wait("the first node to be restarted", lambda: cell.pod_uids() != uids, 90)
        postgres.stop()
        refused = alice.kfleet("cluster", "reconcile", cell.name, "-n", cell.namespace)
    assert refused.returncode == 1, "nothing is changed by a CLI that cannot record it"
    assert "has to be recorded first" in refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    cell.wait("the roll to finish without a ledger", lambda: rolled(cell), 240)
    assert deleted(cell, sandbox) - before == EACH_ONCE
    journal = last(cell)["journal"]
    waiting = [entry for entry in journal if not entry.get("delivered")]
    assert waiting, "what was done without a ledger waits in the status"
    postgres.start()
    cell.wait("the ledger to take what waited", lambda: last(cell).get("recorded") == "Ended", 60)
    cell.wait("all of it", lambda: all(entry.get("delivered") for entry in last(cell)["journal"]), 60)
    name = last(cell)["id"]
    entries = postgres.sql(
        "select steps.step, steps.attempt, steps.verb from steps join operations on operations.id = steps.operation_id"
        f" where operations.operation = '{name}' order by steps.step, steps.attempt"
    )
    assert len(entries) == len(set(entries))
    assert {(entry["step"], entry.get("attempt", 1), entry["verb"]) for entry in journal} <= set(entries)
    assert Counter(verb for _, _, verb in entries)["Stopping"] == len(NODES), entries
    told = alice.json("audit", "list", "--operation", name)
    assert told["items"]


def test_two_operators_at_one_cell_and_the_one_that_holds_it_dies(cell: Cell, sandbox: Sandbox, tmp_path: Path) -> None:
    """Two installations with Leases of their own: only the cell's Lease stands between them."""
    first = cell.operator
    second = type(first)(first.kubeconfig, first.namespace, tmp_path / "second.log", identity="second")
    second.settings = first.settings | {"KFLEET_LEASE_NAME": f"operator-{cell.namespace}-second"}
    second.start()
    try:
        before, uids = deleted(cell, sandbox), cell.pod_uids()
        asked_before = len(deleters(sandbox.paths.audit_log, OPERATOR_USER, cell.namespace))
        with cell.held():
            restart(cell, 5)
            cell.wait("the first node to be restarted", lambda: cell.pod_uids() != uids, 90)
            lease = cell.get("lease", "cell-cell")["spec"]["holderIdentity"]
            holder, other = (second, first) if lease.endswith("/second") else (first, second)
            assert lease.startswith(operation(cell)["id"])
            holder.signal(signal.SIGKILL)
            holder.wait()
        cell.wait("the other one to finish the roll", lambda: rolled(cell), 240)
        assert deleted(cell, sandbox) - before == EACH_ONCE, other.tail()
        asked = [agent for _, agent in deleters(sandbox.paths.audit_log, OPERATOR_USER, cell.namespace)]
        # By when each was asked, not by when the kill was noticed: the log may be a moment behind that.
        turns = [agent for agent, _ in groupby(asked[asked_before:])]
        assert turns == [f"kfleet-operator/{one.identity}" for one in (holder, other)], "one after the other"
    finally:
        second.stop()
        first.stop()
    first.start()


def test_cancel_and_resume(cell: Cell, alice: Person) -> None:
    uids = cell.pod_uids()
    with cell.held():
        restart(cell, 6)
        cell.wait("the first node to be restarted", lambda: cell.pod_uids() != uids, 90)
        name = operation(cell)["id"]
        asked = alice.kfleet("op", "cancel", name, "-n", cell.namespace)
        assert asked.returncode == 2, "without a terminal it needs --yes"
        done = alice.kfleet("op", "cancel", name, "-n", cell.namespace, "--yes")
        assert done.returncode == 0, done.stderr
    cell.wait("the roll to end", lambda: last(cell).get("id") == name and not operation(cell), 90)
    assert last(cell)["outcome"] == "Cancelled"
    assert cell.condition("Blocked")["reason"] == "Cancelled"
    cell.wait_available()
    assert sum(uid != uids[node] for node, uid in cell.pod_uids().items()) == 1, "no node after the cancel"
    cell.wait("every node to be up", lambda: all(n["ready"] for n in cell.cluster()["status"]["nodes"]), 60)
    done = alice.kfleet("op", "resume", name, "-n", cell.namespace, "--yes")
    assert done.returncode == 0, done.stderr
    cell.wait("the roll to finish", lambda: rolled(cell), 240)
    assert all(uid != uids[node] for node, uid in cell.pod_uids().items())


def test_a_change_waits_for_somebody_else_to_approve_it(cell: Cell, alice: Person, bob: Person) -> None:
    asked_by = {"kfleet.dev/requested-by": alice.user}

    def alice_asks(spec: dict[str, Any]) -> None:
        change = json.dumps({"metadata": {"annotations": asked_by}, "spec": spec})
        cell.kubectl(
            *("--kubeconfig", str(alice.kubeconfig), "patch", "kafkaclusters.kfleet.dev", cell.name),
            *("--type=merge", "-p", change),
        )

    def waits() -> bool:
        return bool(cell.condition("Blocked")["reason"] == "AwaitingApproval")

    uids = cell.pod_uids()
    alice_asks({"rollout": {"approval": "Required"}})
    alice_asks({"config": {"num.network.threads": 7}})
    cell.wait("the roll to wait for approval", waits, 60)
    first = operation(cell)["planHash"]
    pending = bob.json("pending", "-n", cell.namespace)
    assert [item["planHash"] for item in pending["items"]] == [first]
    refused = alice.kfleet("approve", cell.name, "-n", cell.namespace, "--yes")
    assert refused.returncode == 4, refused.stderr
    with cell.held():
        approved = bob.kfleet("approve", cell.name, "-n", cell.namespace, "--yes", "--reason", "capacity checked")
        assert approved.returncode == 0, approved.stderr
        cell.wait("the roll to begin", lambda: cell.pod_uids() != uids, 60)
        alice_asks({"config": {"num.network.threads": 8}})
    cell.wait("the changed plan to wait again", lambda: waits() and operation(cell)["planHash"] != first, 120)
    denied = bob.kfleet("deny", cell.name, "-n", cell.namespace, "--yes", "--reason", "not today")
    assert denied.returncode == 0, denied.stderr
    cell.wait("the roll to end", lambda: last(cell).get("outcome") == "Denied", 90)
    assert all(node["ready"] for node in cell.cluster()["status"]["nodes"]), "the node that was begun came back"
    alice_asks({"config": {"num.network.threads": 9}})
    cell.wait("a third plan to wait", lambda: waits() and operation(cell).get("planHash") not in {None, first}, 60)
    approved = bob.kfleet("approve", cell.name, "-n", cell.namespace, "--yes", "--wait")
    assert approved.returncode == 0, approved.stderr
    cell.wait("what was approved to be finished", lambda: rolled(cell), 240)
    assert all(uid != uids[node] for node, uid in cell.pod_uids().items())


def test_a_cluster_deleted_in_the_middle_of_a_roll_goes_and_keeps_its_volumes(cell: Cell, bob: Person) -> None:
    uids = cell.pod_uids()
    claims = {claim["metadata"]["uid"] for claim in cell.get("pvc")["items"]}
    change = {"metadata": {"annotations": {"kfleet.dev/requested-by": ADMIN}}, "spec": {"version": "4.3.1"}}
    cell.kubectl("patch", "kafkaclusters.kfleet.dev", cell.name, "--type=merge", "-p", json.dumps(change))
    cell.wait("the roll to wait for approval", lambda: cell.condition("Blocked")["reason"] == "AwaitingApproval", 60)
    with cell.held():
        assert bob.kfleet("approve", cell.name, "-n", cell.namespace, "--yes").returncode == 0
        cell.wait("the first node to be restarted", lambda: cell.pod_uids() != uids, 90)
        cell.kubectl("delete", "kafkaclusters.kfleet.dev", cell.name, "--timeout=180s")
    cell.wait("the pods to go", lambda: not cell.get("pods")["items"], 90)
    gone = lambda: "NotFound" in cell.kubectl("get", "lease", "cell-cell", check=False)  # noqa: E731
    cell.wait("the cell's Lease to go with it", gone, 60)
    assert {claim["metadata"]["uid"] for claim in cell.get("pvc")["items"]} == claims
