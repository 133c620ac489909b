"""`make campaign-crash`: a version change of six nodes with the operator killed before and after each of its writes.

Three controllers and three brokers go from 4.2.0 to 4.3.1 under traffic. The record (commit, machine, outcomes) is
written to docs/evidence/campaign-crash.json and committed; `make check` verifies that it is there and passed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from support.audit import OPERATOR_USER, pods_done
from support.cell import Cell, combined_cluster, topic
from support.evidence import write_record
from support.sandbox import Sandbox
from support.traffic import Traffic

TOPIC = "orders"


def separate_cluster() -> dict[str, object]:
    cluster = combined_cluster()
    pool = cluster["spec"]["nodePools"][0]
    cluster["spec"]["nodePools"] = [
        pool | {"name": "controllers", "roles": ["Controller"]},
        pool | {"name": "brokers", "roles": ["Broker"]},
    ]
    return cluster


def test_six_node_version_change_under_the_crash_walk(cell: Cell, sandbox: Sandbox, tmp_path: Path) -> None:
    cell.apply(separate_cluster(), topic(TOPIC, config={"min.insync.replicas": 2}))
    cell.wait_ready(300)
    cell.wait("topic", lambda: cell.get("kafkatopics.kfleet.dev", TOPIC).get("status", {}).get("topicId"), 60)
    traffic = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl", rate=500)
    try:
        traffic.wait_flowing()
        log = sandbox.paths.audit_log
        before = {verb: pods_done(log, OPERATOR_USER, verb, cell.namespace) for verb in ("delete", "create")}
        state = tmp_path / "walk.json"
        cell.operator.stop()
        cell.operator.start("support.crash_walk", str(state))
        started = time.monotonic()
        cell.patch({"version": "4.3.1"})

        def upgraded() -> bool:
            status = cell.cluster()["status"]
            return cell.is_ready() and status.get("metadataVersion") == "4.3-IV0"

        cell.wait("the upgrade to finish under the crash walk", upgraded, 1500)
        seconds = time.monotonic() - started
    finally:
        traffic.stop()
    account = traffic.account()
    kills = Path(f"{state}.journal").read_text().splitlines()
    walked = json.loads(state.read_text())["number"] - 1
    done = {
        verb: dict(sorted((pods_done(log, OPERATOR_USER, verb, cell.namespace) - before[verb]).items()))
        for verb in ("delete", "create")
    }
    once = dict.fromkeys(sorted(pod["metadata"]["name"] for pod in cell.pods().values()), 1)
    passed = (
        account["lost"] == 0
        and account["duplicated"] == 0
        and done == {"delete": once, "create": once}
        and [int(line.split()[0]) for line in kills if line.split()[1] == "after"] == list(range(1, walked + 1))
    )
    write_record(
        "campaign-crash",
        passed=passed,
        outcomes={
            "scenario": "3 controllers and 3 brokers, 4.2.0 to 4.3.1, operator killed before and after every write",
            "writes_walked": walked,
            "kills": len(kills),
            "kills_by_call": dict(Counter(" ".join(line.split()[2:4]) for line in kills)),
            "pods": done,
            "upgrade_s": round(seconds, 1),
            "canary": {key: account[key] for key in ("sent", "acknowledged", "consumed", "lost", "duplicated")},
        },
    )
    assert passed, (account, done, kills[-10:])
