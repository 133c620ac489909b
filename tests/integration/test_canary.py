"""The canary as its own process against a real broker: crashes lose nothing, planted loss is found."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from support.cluster import LocalKafka

from controlplane.domain.canary import NEW_EPOCH

pytestmark = pytest.mark.kafka
TOPIC = "canary"
PARTITIONS = 3


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        kafka.start("4.3.1", nodes=1)
        yield kafka


@pytest.fixture
def topic(broker: LocalKafka, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    name = f"{TOPIC}-{request.node.name.replace('_', '-')}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(timeout=30)
    return name


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "controlplane.cli.canary", *arguments]


@contextmanager
def canary(broker: LocalKafka, topic: str, journal: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A running canary that writes JSON to stdout; killed if the test leaves it running."""
    arguments = ["run", "--bootstrap", broker.bootstrap, "--topic", topic, "--journal", str(journal), "-o", "json"]
    process = subprocess.Popen(
        command(*arguments, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=180)
    assert stdout, stderr
    figures: dict[str, Any] = json.loads(stdout)
    return figures


def lines(journal: Path, kind: str) -> int:
    return journal.read_text().count(f'["{kind}"') if journal.exists() else 0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.05)


def test_a_broker_killed_under_traffic_loses_nothing(broker: LocalKafka, topic: str, tmp_path: Path) -> None:
    journal = tmp_path / "run.jsonl"
    with canary(broker, topic, journal, "--warm-up", "1") as process:
        wait_for(lambda: lines(journal, "ack") > 2500, "2,500 acknowledged")
        broker.kill_node(1)
        before = lines(journal, "ack")
        broker.start_node(1)
        wait_for(lambda: lines(journal, "ack") > before + 2500, "2,500 more after the crash")
        process.send_signal(signal.SIGTERM)
        figures = result_of(process)
    assert process.returncode == 0, figures
    assert figures["lost"] == 0
    assert figures["sent"] == figures["acknowledged"] + figures["failed"]
    assert figures["consumed"] >= figures["acknowledged"] > 5000
    assert figures["duplicated"] == 0
    assert figures["reordered"] == 0
    assert figures["complete"] is True
    assert {stall["partition"] for stall in figures["stalls"]} == set(range(PARTITIONS))
    assert max(stall["duration_ms"] for stall in figures["stalls"]) > 500
    assert json.loads(journal.read_text().splitlines()[-1])["summary"] == figures


def test_a_new_producer_epoch_is_noted(broker: LocalKafka, topic: str, tmp_path: Path) -> None:
    """Copies in the log after one are the client's (librdkafka issue 4953); records that time out force it here."""
    journal = tmp_path / "run.jsonl"
    with canary(broker, topic, journal, "--delivery-timeout", "10") as process:
        wait_for(lambda: lines(journal, "ack") > 1000, "1,000 acknowledged")
        assert NEW_EPOCH not in journal.read_text()
        broker.pods[1].freeze()
        try:
            wait_for(lambda: lines(journal, "fail") > 0, "records given up")
        finally:
            broker.pods[1].thaw()
        before = lines(journal, "ack")
        wait_for(lambda: lines(journal, "ack") > before + 1000, "1,000 more acknowledged")
        wait_for(lambda: NEW_EPOCH in journal.read_text(), "the note")
        process.send_signal(signal.SIGTERM)
        figures = result_of(process)
    assert figures["failed"] > 0
    assert figures["lost"] == 0


def test_records_deleted_from_the_log_are_reported_as_lost(broker: LocalKafka, topic: str, tmp_path: Path) -> None:
    """The negative control: acknowledged records taken away behind the canary's back."""
    journal = tmp_path / "run.jsonl"
    with canary(broker, topic, journal, "--read", "end") as process:
        wait_for(lambda: lines(journal, "ack") > 1500, "1,500 acknowledged")
        deleted = 100
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.delete_records([TopicPartition(topic, 0, deleted)])[TopicPartition(topic, 0)].result(timeout=30)
        process.send_signal(signal.SIGTERM)
        figures = result_of(process)
    assert process.returncode == 1
    assert figures["lost"] == deleted
    assert figures["lost_ranges"] == [{"run": _run(journal), "partition": 0, "first": 0, "last": deleted - 1}]
    assert (figures["duplicated"], figures["reordered"], figures["holes"]) == (0, 0, 0)
    again = subprocess.run(command("account", str(journal)), capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode == 1
    assert "sequences 0 to 99" in again.stdout


def test_a_killed_canary_leaves_a_journal_that_accounts(broker: LocalKafka, topic: str, tmp_path: Path) -> None:
    journal = tmp_path / "run.jsonl"
    with canary(broker, topic, journal) as process:
        wait_for(lambda: lines(journal, "read") > 1000, "1,000 read")

        def stopped_close_behind() -> bool:
            """A reader that had no CPU is behind by what was written meanwhile; stopped it stays where it is."""
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "stopped")
            if lines(journal, "ack") - lines(journal, "read") < 500:
                return True
            process.send_signal(signal.SIGCONT)
            return False

        wait_for(stopped_close_behind, "a reader that keeps up")
        process.kill()
        process.wait(30)
    done = subprocess.run(
        command("account", str(journal), "-o", "json"), capture_output=True, text=True, check=False, timeout=60
    )
    figures = json.loads(done.stdout)
    assert figures["acknowledged"] > 1000
    # What was acknowledged in the reader's last moments had not been read yet; all before it had.
    assert figures["lost"] < 1000
    assert (figures["duplicated"], figures["reordered"], figures["holes"]) == (0, 0, 0)


def test_it_starts_where_the_log_ends_and_passes_over_strangers(broker: LocalKafka, topic: str, tmp_path: Path) -> None:
    total = 0
    for number in (1, 2):
        journal = tmp_path / f"run-{number}.jsonl"
        with canary(broker, topic, journal, "--rate", "200", "--duration", "2") as process:
            figures = result_of(process)
        assert process.returncode == 0
        uncaught = 200 * 2 * figures["worst_pause_ms"] / 1000  # what pauses at its end left no time for
        assert 395 - uncaught <= figures["sent"] == figures["consumed"] <= 405
        total += figures["sent"]
    both = [str(tmp_path / f"run-{number}.jsonl") for number in (1, 2)]
    done = subprocess.run(
        command("account", *both, "-o", "json", "--strict"), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, json.loads(done.stdout)["acknowledged"]) == (0, total)


def test_a_thousand_records_a_second_cost_little(broker: LocalKafka, topic: str, tmp_path: Path) -> None:
    """Steady state only: starting Python is not the canary's traffic."""
    journal = tmp_path / "run.jsonl"
    with canary(broker, topic, journal) as process:
        wait_for(lambda: lines(journal, "ack") > 1000, "warm")
        meter = psutil.Process(process.pid)
        acked, cpu = lines(journal, "ack"), meter.cpu_times()
        wait_for(lambda: lines(journal, "ack") > acked + 8000, "8,000 more acknowledged")
        spent, acked = meter.cpu_times(), lines(journal, "ack") - acked
        process.send_signal(signal.SIGTERM)
        figures = result_of(process)
    per_thousand = 1000 * (spent.user + spent.system - cpu.user - cpu.system) / acked
    assert per_thousand < 0.3, f"{per_thousand:.3f} s of a core per 1,000 records"
    assert figures["lost"] == 0


@pytest.mark.parametrize(
    ("server", "topic_name", "message"),
    [("127.0.0.1:1", TOPIC, "no broker answered at 127.0.0.1:1"), ("", "absent", "create the topic first")],
)
def test_what_cannot_run_says_so_in_one_line(
    broker: LocalKafka, tmp_path: Path, server: str, topic_name: str, message: str
) -> None:
    journal = tmp_path / "run.jsonl"
    arguments = ["run", "--bootstrap", server or broker.bootstrap, "--topic", topic_name, "--journal", str(journal)]
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not journal.exists()


def _run(journal: Path) -> str:
    with journal.open() as file:
        return str(json.loads(file.readline())["run"])
