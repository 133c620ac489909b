"""`make campaign-rolling`: rolls of real clusters under traffic while things break around them.

Every scenario asks the same: nothing acknowledged is lost, no partition comes under its min ISR through us, no node is
stopped more often than it has to be, and the roll ends, or waits for the right reason and then ends. They run in order
on one cluster (one that is left broken is replaced). The record goes to docs/evidence once all of them have run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.campaign import BROKERS, CONTROLLERS, HOLD_SECONDS, RECORD, Stage, ended, pod_name
from support.campaign_verdict import SCENARIOS, complaints, scenario_problems, with_planted_loss
from support.cell import Cell
from support.evidence import write_record
from support.faults.api_server import api_server_gone
from support.faults.pods import frozen, kept_dead, wait_ended
from support.faults.replication import crawling, fill, make_topic, reassign, reassigning
from support.faults.volumes import small_volume
from support.postgres import running_postgres
from support.quorum import quorum_leader
from support.roll_judge import judge
from support.roll_witness import Stops
from support.sandbox import Sandbox

from controlplane.adapters.journal import account_journals

ADMIN = "kfleet:sandbox:admin"
EACH_BROKER = dict.fromkeys(BROKERS, 1)
EACH_NODE = dict.fromkeys((*CONTROLLERS, *BROKERS), 1)
GONE_SECONDS = 30.0
LAG_MIB = 40
"""Seven minutes of a replica that crawls."""


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(sandbox, tmp_path_factory.mktemp("campaign"))
    try:
        yield made
    finally:
        made.end_cluster()
        outcomes = {"scenarios": [result.__dict__ for result in made.results]}
        if {result.name for result in made.results} >= set(SCENARIOS):
            write_record(RECORD, passed=not scenario_problems(outcomes), outcomes=outcomes)
        else:
            print("campaign: not all scenarios ran, so no record is written")


@pytest.fixture(autouse=True)
def dump_on_failure() -> None:
    """In place of the one for tests that share a cell; `Cell.wait` shows the state with what did not come true."""


def versions(stage: Stage, version: str, metadata: str) -> bool:
    status = stage.cell(version).cluster()["status"]
    return {node.get("version") for node in status["nodes"]} == {version} and status.get("metadataVersion") == metadata


def test_back_before_finalisation(stage: Stage, tmp_path: Path) -> None:
    with stage.scenario(SCENARIOS[0], tmp_path, version="4.1.2") as run:
        run.cell.patch({"version": "4.2.0", "rollout": {"soak": "1h"}})
        run.cell.wait("the soak on 4.2.0", lambda: versions(stage, "4.2.0", "4.1-IV1") and soaks(run.cell), 400)
        run.cell.patch({"version": "4.1.2", "rollout": {"soak": "2s"}})
        run.cell.wait("4.1.2 again", lambda: versions(stage, "4.1.2", "4.1-IV1") and ended(run.cell), 400)
        run.expected = dict.fromkeys(EACH_NODE, 2)


def soaks(cell: Cell) -> bool:
    return (cell.cluster()["status"].get("operation") or {}).get("step", {}).get("verb") == "Soaking"


def test_three_versions(stage: Stage, tmp_path: Path) -> None:
    with stage.scenario(SCENARIOS[1], tmp_path, version="4.1.2") as run:
        for version, metadata in (("4.2.0", "4.2-IV1"), ("4.3.1", "4.3-IV0")):

            def done(version: str = version, metadata: str = metadata) -> bool:
                return versions(stage, version, metadata) and ended(run.cell)

            run.cell.patch({"version": version})
            run.cell.wait(metadata, done, 400)
        run.expected = dict.fromkeys(EACH_NODE, 2)


def test_broker_killed_during_anothers_restart(stage: Stage, tmp_path: Path) -> None:
    with stage.scenario(SCENARIOS[2], tmp_path) as run:
        stage.restart_brokers(run.cell)
        first = run.stopped(1)
        wait_ended(run.sandbox, run.target(first.node))
        other = next(node for node in BROKERS if node != first.node)
        run.breaks(other)
        with kept_dead(run.sandbox, run.target(other)):
            run.held(rf"waiting for node {other}\b|Node {other} \(pod", but=other)
        run.rolled()
        run.expected = EACH_BROKER


def test_controller_lost_mid_roll(stage: Stage, tmp_path: Path) -> None:
    """The active one, while a broker restarts: no further broker goes before it is back, though a majority stands."""
    with stage.scenario(SCENARIOS[3], tmp_path) as run:
        active, _ = quorum_leader(run.cell.bootstrap())
        stage.restart_brokers(run.cell)
        run.stopped(1)
        run.breaks(active)
        with kept_dead(run.sandbox, run.target(active)):
            run.held(rf"waiting for node {active}\b|Node {active} \(pod")
        run.rolled()
        run.expected = EACH_BROKER


def test_reassignment_in_flight(stage: Stage, tmp_path: Path) -> None:
    moved = "moved"
    bootstrap = stage.cell("4.3.1").bootstrap()
    make_topic(bootstrap, moved, BROKERS[:2], min_isr=1)
    fill(bootstrap, moved, LAG_MIB)
    with stage.scenario(SCENARIOS[4], tmp_path) as run:
        with crawling(bootstrap, moved, BROKERS):
            reassign(bootstrap, moved, BROKERS[1:])
            stage.restart_brokers(run.cell)
            run.held("ReassignmentInFlight")
            assert run.stops.all() == [], "a node was stopped before it was over"
            assert reassigning(bootstrap), "it ended by itself: nothing was shown"
        run.rolled()
        assert not reassigning(bootstrap)
        run.expected = EACH_BROKER


def test_slow_follower(stage: Stage, tmp_path: Path) -> None:
    """What is written while a broker is away it fetches at a crawl; it serves and is ready all that time."""
    lagging = "lagging"
    bootstrap = stage.cell("4.3.1").bootstrap()
    make_topic(bootstrap, lagging, BROKERS, min_isr=2)
    with stage.scenario(SCENARIOS[5], tmp_path) as run:
        with crawling(bootstrap, lagging, BROKERS):
            stage.restart_brokers(run.cell)
            first = run.stopped(1)
            wait_ended(run.sandbox, run.target(first.node))
            fill(bootstrap, lagging, LAG_MIB)
            run.held(rf"Node {first.node} is catching up")
        run.rolled()
        run.expected = EACH_BROKER


def test_frozen_broker(stage: Stage, tmp_path: Path) -> None:
    """It hangs while another restarts. Its probe finds it ready, since the kernel accepts: the brokers know better.

    It is out of every ISR by the time the first is back, so that it may be replaced, which is what cures it; until it
    is back itself no other goes.
    """
    with stage.scenario(SCENARIOS[6], tmp_path) as run:
        stage.restart_brokers(run.cell)
        first = run.stopped(1)
        other = next(node for node in BROKERS if node != first.node)
        run.breaks(other)
        with frozen(run.sandbox, run.target(other)):
            run.held(rf"waiting for node {other}\b|Node {other} \(pod", but=other)
        run.rolled()
        run.expected = EACH_BROKER


def test_ledger_gone(stage: Stage, tmp_path: Path) -> None:
    cell = stage.cell("4.3.1")
    with running_postgres() as postgres:
        cell.operator.settings["KFLEET_LEDGER_URL"] = postgres.url()
        stage.supervisor.restart()
        try:
            with stage.scenario(SCENARIOS[7], tmp_path) as run:
                stage.restart_brokers(cell)
                run.stopped(1)
                postgres.kill()
                run.rolled()
                last = cell.cluster()["status"]["lastOperation"]
                assert any(not entry.get("delivered") for entry in last["journal"]), "it waits in the status"
                postgres.start()
                cell.wait("the ledger to take it", lambda: recorded(cell, last["id"]), 90)
                rows = postgres.sql(
                    "select s.step, s.attempt from steps s join operations o on o.id = s.operation_id "
                    f"where o.operation = '{last['id']}' and s.verb = 'Stopping'"
                )
                assert len(rows) == len(set(rows)) == len(BROKERS), rows
                run.expected = EACH_BROKER
        finally:
            del cell.operator.settings["KFLEET_LEDGER_URL"]
            stage.supervisor.restart()


def recorded(cell: Cell, operation: str) -> bool:
    last = cell.cluster()["status"]["lastOperation"]
    delivered = all(entry.get("delivered") for entry in last["journal"])
    return last["id"] == operation and last.get("recorded") == "Ended" and delivered


def test_api_server_gone(stage: Stage, tmp_path: Path) -> None:
    """The operator loses its Lease and ends, as it must, until one that is started again finds the API server."""
    with stage.scenario(SCENARIOS[8], tmp_path) as run:
        stage.restart_brokers(run.cell)
        run.stopped(1)
        lives = run.supervisor.restarts
        with api_server_gone(run.sandbox):
            time.sleep(GONE_SECONDS)
            assert run.supervisor.restarts > lives, "an operator without its Lease went on"
        run.rolled()
        run.expected = EACH_BROKER


def test_planted_harm_is_found(stage: Stage, tmp_path: Path) -> None:
    """The control: two brokers are deleted by hand, one right after the other, and a record is taken out of a journal.

    It passes when the campaign's own judge and accounting find exactly that.
    """
    with stage.scenario(SCENARIOS[10], tmp_path) as run:
        by_hand = Stops(run.sandbox.paths.audit_log, ADMIN, run.cell.namespace)
        for node in BROKERS[:2]:
            run.cell.kubectl("delete", "pod", pod_name(node), "--wait=false")
        run.cell.wait("both stops", lambda: len(by_hand.all()) == 2, 30)
        run.cell.wait("both to be back", lambda: ended(run.cell) and len(run.cell.pods()) == len(EACH_NODE), 180)
        time.sleep(HOLD_SECONDS)
        kinds = {finding.kind for finding in judge(run.witness.sightings, by_hand.all())}
        assert kinds >= {"UnsafeStop", "UnderMinIsr"}, (kinds, by_hand.all())
    account, _ = account_journals([with_planted_loss(run.traffic.journal)], warm_up_s=0.0)
    assert complaints(account.to_json(), [], new_epochs=0) == ["1 records lost"]


def test_full_volume_on_restart(stage: Stage, tmp_path: Path) -> None:
    """Last: the data of one broker goes with its tmpfs."""
    node = BROKERS[1]
    cell = stage.cell("4.3.1")
    try:
        with small_volume(stage.sandbox, cell, pod_name(node), f"data-0-{pod_name(node)}") as volume:
            cell.wait("the broker on its small volume", lambda: ended(cell) and in_sync(cell), 120)
            with stage.scenario(SCENARIOS[9], tmp_path) as run:
                stage.restart_brokers(cell)
                cell.wait(f"node {node} to be stopped", lambda: node in {stop.node for stop in run.stops.all()}, 200)
                wait_ended(run.sandbox, run.target(node))
                volume.fill()
                run.held(rf"waiting for node {node}: .*(restarted|[Bb]ack-?[Oo]ff)")
                assert volume.free_bytes() < 4096, "the volume was not full"
                volume.empty()
                run.rolled()
                run.expected = EACH_BROKER
            stage.end_cluster()
    finally:
        stage.end_cluster()


def in_sync(cell: Cell) -> bool:
    return cell.get("pdb", "cell-nodes")["spec"]["minAvailable"] == len(EACH_NODE) - 1
