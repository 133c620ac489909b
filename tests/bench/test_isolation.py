"""`make bench-isolation`: six real brokers with one request handler each, a tenant that saturates those of its shard
without using the machine's processors, a tenant apart from it and one that overlaps.

The one that overlaps writes to partitions that the noisy one's brokers lead. PAIRS times; the record goes to
docs/evidence/bench-isolation.json.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient, NewTopic
from support.cluster import LocalKafka
from support.evidence import ROOT, write_record
from support.isolation import Client, Outcome, saturated
from support.noisy import FLUSHED

VERSION = os.environ.get("VERSION") or "4.3.1"
PAIRS = int(os.environ.get("PAIRS") or 5)
SECONDS = 15.0
NOISY, APART = (1, 2), (3, 4)
PARTITIONS, CONNECTIONS = 96, 2
MOST_PERCENT = 60.0


def test_isolation(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka") as kafka:
        kafka.start(VERSION, nodes=6, config={"num.io.threads": "1"})
        topics(kafka)
        rows = [one(kafka) for _ in range(PAIRS)]
    passed = all(row.apart_is_unhurt and row.overlapping_is_hurt for row in rows)
    passed = passed and all(row.processors["machine"] < MOST_PERCENT for row in rows)
    outcomes = {
        "kafka": VERSION,
        "brokers": 6,
        "num.io.threads": 1,
        "noisy": list(NOISY),
        "apart": list(APART),
        "overlapping": [[1, 5], [2, 6]],
        "seconds": SECONDS,
        "rows": [row.document() for row in rows],
    }
    path = write_record("bench-isolation", passed=passed, outcomes=outcomes)
    print(f"\nrecord: {path.relative_to(ROOT)}")
    for row in rows:
        print(row)
    assert passed


def topics(kafka: LocalKafka) -> None:
    wanted = [
        NewTopic("noisy", PARTITIONS, replica_assignment=[[NOISY[at % 2]] for at in range(PARTITIONS)], config=FLUSHED),
        NewTopic("apart", 2, replica_assignment=[list(APART), list(APART[::-1])]),
        NewTopic("overlapping", 2, replica_assignment=[[1, 5], [2, 6]]),
    ]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in admin.create_topics(wanted).values():
        done.result(60)


def one(kafka: LocalKafka) -> Outcome:
    settings = {"bootstrap.servers": kafka.bootstrap}

    def processes() -> Iterator[psutil.Process]:
        for pod in kafka.pods.values():
            assert pod._process is not None
            root = psutil.Process(pod._process.pid)
            yield from (root, *root.children(recursive=True))

    return saturated(
        Client("noisy", range(PARTITIONS), {"bootstrap_servers": kafka.bootstrap_servers}),
        CONNECTIONS,
        Client("apart", range(2), settings),
        Client("overlapping", range(2), settings),
        seconds=SECONDS,
        processes=processes,
    )
