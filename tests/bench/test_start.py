"""`make bench-start`: what a secure node's start gains by one round of PBKDF2 for keys in memory, in alternating pairs.

PAIRS (5) and VERSION (4.3.1) come from the environment.

The cluster is laid out as the quickstart, at rest: three controllers and three brokers, secure and then, as a control,
without TLS, logins and authorizer. One broker and one controller are stopped and started again, by the image's
kafka-node-run and by a copy that leaves Java's 10,000 rounds as they are; a broker's start begins when the session of
the stopped one is over, since one that comes back earlier waits for that (KAFKA-19047). Which goes first alternates;
one start of each goes before that counts for nothing. The record goes to docs/evidence/bench-start.json.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka.admin import NewTopic
from support.evidence import ROOT, write_record
from support.pod import KafkaPod
from support.quickstart import BROKERS, CONTROLLERS, Quickstart, in_sync, quickstart
from support.start_bench import AFTER, BEFORE, BROKER, CONTROLLER, OPEN, SIDES, better, medians, table

from controlplane.domain.cluster.properties import defaults
from controlplane.sandbox.class_archive import STARTED
from controlplane.sandbox.images import KAFKA_SCRIPTS

PAIRS = int(os.environ.get("PAIRS") or 5)
VERSION = os.environ.get("VERSION") or "4.3.1"
OPTION = "-Dkeystore.pkcs12.keyPbeIterationCount="
TOPIC = NewTopic("orders", 6, 3, config={"min.insync.replicas": "2"})
NODES = {BROKER: BROKERS[-1], CONTROLLER: CONTROLLERS[-1], OPEN: BROKERS[-1]}
SESSION_SECONDS = int(defaults(len(BROKERS))["broker.session.timeout.ms"]) / 1000
START_SECONDS, LOOK_SECONDS = 120.0, 0.01


def test_starts(tmp_path: Path) -> None:
    scripts = {BEFORE: former(tmp_path / "image"), AFTER: KAFKA_SCRIPTS}
    rows: list[dict[str, Any]] = []
    for secure, roles in ((True, (BROKER, CONTROLLER)), (False, (OPEN,))):
        with quickstart(tmp_path / f"cluster-{secure}", VERSION, TOPIC, secure=secure) as cluster:
            for side in SIDES:
                for role in roles:
                    start(cluster, role, scripts[side])
            rows += pairs(cluster, roles, scripts)
    path = write_record(
        "bench-start", passed=better(rows), outcomes={"kafka": VERSION, "medians": medians(rows), "rows": rows}
    )
    print(f"\nrecord: {path.relative_to(ROOT)}\n{table(rows)}")
    assert better(rows)


def former(directory: Path) -> Path:
    """The image's scripts without the option."""
    shutil.copytree(KAFKA_SCRIPTS.parent, directory)
    script = directory / "bin" / "kafka-node-run"
    lines = script.read_text().splitlines(keepends=True)
    kept = [line for line in lines if OPTION not in line]
    assert len(kept) == len(lines) - 1
    script.write_text("".join(kept))
    return script.parent


def pairs(cluster: Quickstart, roles: Sequence[str], scripts: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    for pair in range(1, PAIRS + 1):
        for side in SIDES if pair % 2 else SIDES[::-1]:
            for role in roles:
                row = {"pair": pair, "side": side, "role": role} | start(cluster, role, scripts[side])
                print(row, flush=True)
                yield row


def start(cluster: Quickstart, role: str, scripts: Path) -> dict[str, float]:
    """Stop the node, wait until its session is over, start it by these scripts. What it took, rounded to 10 ms."""
    pod = cluster.pods[NODES[role]]
    pod.stop()
    if role != CONTROLLER:
        time.sleep(SESSION_SECONDS)
    pod.scripts = scripts
    said = pod.log_file.stat().st_size
    began = time.monotonic()
    pod.start()
    process = psutil.Process(pid_of(pod))
    wait_said(pod, said)
    figures = {"ready_s": time.monotonic() - began, "ready_cpu_s": cpu_s(process)}
    cluster.wait(in_sync)
    if role != CONTROLLER:
        figures |= {"in_sync_s": time.monotonic() - began, "in_sync_cpu_s": cpu_s(process)}
    return {name: round(value, 2) for name, value in figures.items()}


def pid_of(pod: KafkaPod) -> int:
    assert pod._process is not None
    return pod._process.pid


def cpu_s(process: psutil.Process) -> float:
    """The image's script becomes the JVM, so that this is all of it."""
    times = process.cpu_times()
    return times.user + times.system


def wait_said(pod: KafkaPod, position: int) -> None:
    """Until the log, from there on, says that Kafka has started."""
    deadline = time.monotonic() + START_SECONDS
    with pod.log_file.open(errors="replace") as log:
        log.seek(position)
        text = ""
        while STARTED not in text:
            text += log.read()
            assert pod.running, f"it ended: {pod.log_tail()}"
            assert time.monotonic() < deadline, f"not started within {START_SECONDS:g} s: {pod.log_tail()}"
            time.sleep(LOOK_SECONDS)
