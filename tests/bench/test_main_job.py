"""`make bench`: what a sandbox costs to start and what the operator costs at rest.

Figures, not assertions: the record with its raw rows goes to docs/evidence/bench-main-job.json. The operator at rest is
compared with the same operator that has nothing to look after, on the same machine a moment before.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import psutil
import yaml
from support.cell import combined_cluster, topic
from support.evidence import write_record
from support.sandbox import Sandbox, running_sandbox, wait

STARTS = 5
IDLE_SECONDS = 60.0
TOPICS = 200
QUIET_PERCENT = 3.0


def operator_process(sandbox: Sandbox) -> psutil.Process:
    """The operator's own process, in the pod that the chart's Deployment made."""

    def find() -> psutil.Process | None:
        for pid, command in sandbox.processes().items():
            if command.rstrip().endswith("/kfleet-operator") and "supervisor" not in command:
                return psutil.Process(pid)
        return None

    return wait("the operator's process", find)


def at_rest(process: psutil.Process) -> dict[str, float]:
    """Resident size and share of one core over a quiet minute."""
    before = process.cpu_times()
    started = time.monotonic()
    while time.monotonic() - started < IDLE_SECONDS:
        time.sleep(1)
    after = process.cpu_times()
    used = (after.user + after.system) - (before.user + before.system)
    return {
        "resident_mib": round(process.memory_info().rss / 2**20, 1),
        "cpu_percent_of_one_core": round(100 * used / (time.monotonic() - started), 2),
    }


def test_sandbox_start_times(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    for _ in range(STARTS):
        started = time.monotonic()
        with running_sandbox(tmp_path / "state", "bench") as sandbox:
            first = time.monotonic() - started
            sandbox.down()
            started = time.monotonic()
            sandbox.up()
            rows.append({"first_up_s": round(first, 2), "up_again_s": round(time.monotonic() - started, 2)})
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    print(f"\nsandbox, binaries cached: first up {medians['first_up_s']} s, up again {medians['up_again_s']} s")
    write_record("bench-sandbox-start", passed=True, outcomes={"medians": medians, "rows": rows})


def test_operator_at_rest(tmp_path: Path) -> None:
    def kubectl_json(*arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(sandbox.kubectl(*arguments, "-o", "json"))
        return document

    def is_ready(kind: str, name: str) -> bool:
        conditions = kubectl_json("-n", "bench", "get", kind, name).get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    with running_sandbox(tmp_path / "state", "bench", operator=True) as sandbox:
        process = operator_process(sandbox)
        # Its start is not rest: it has begun to work once it holds the Lease, and is quiet a moment later.
        lease = ("-n", "kfleet", "get", "lease", "kfleet-operator")
        wait("the Lease", lambda: sandbox.kubectl(*lease, check=False).startswith("NAME"))
        wait("a quiet second", lambda: process.cpu_percent(interval=1.0) < QUIET_PERCENT)
        empty = at_rest(process)
        sandbox.kubectl("create", "namespace", "bench")
        cluster = combined_cluster()
        cluster["spec"]["nodePools"][0]["jvm"]["heap"] = "512Mi"
        sandbox.kubectl("-n", "bench", "apply", "-f", "-", stdin=yaml.safe_dump(cluster))
        wait("cluster Ready", lambda: is_ready("kafkaclusters.kfleet.dev", "cell"), 300)
        topics = [topic(f"topic-{number:03}", partitions=1) for number in range(TOPICS)]
        started = time.monotonic()
        sandbox.kubectl("-n", "bench", "apply", "-f", "-", stdin=yaml.safe_dump_all(topics))
        applied = time.monotonic() - started

        def all_ready() -> bool:
            items = kubectl_json("-n", "bench", "get", "kafkatopics.kfleet.dev")["items"]
            return len(items) == TOPICS and all(
                any(
                    c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions", [])
                )
                for item in items
            )

        wait("topics Ready", all_ready, 300)
        topics_s = time.monotonic() - started
        loaded = at_rest(process)
    outcomes = {
        "operator_with_nothing": empty,
        "operator_with_one_cluster_and_topics": loaded,
        "topics": TOPICS,
        "kubectl_apply_s": round(applied, 1),
        "topics_ready_s": round(topics_s, 1),
    }
    print(f"\noperator at rest: {json.dumps(outcomes)}")
    write_record("bench-operator-at-rest", passed=True, outcomes=outcomes)
