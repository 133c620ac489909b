"""A client that keeps request handlers busy without using the machine's processors: `python -m support.noisy FILE`.

Each request writes to all those partitions of a topic that a broker leads, with `flush.messages=1`: the handler that
serves it flushes one file after the other to the disk and waits for each (UnifiedLog.append). Several connections, each
with one request after the other, are a queue in front of the handlers. A producer would take more of the processors for
its records than the brokers do to write them, so the same request is sent again and again.

FILE is JSON: {"topic", "partitions", "connections", "client": kafka-python's settings}. Runs until SIGTERM.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

FLUSHED = {"flush.messages": "1", "min.insync.replicas": "1"}
"""Configs of the topic."""
END_SECONDS = 60


class Noise:
    """The client as a process of a test, from `with` to its end."""

    def __init__(self, topic: str, partitions: Sequence[int], connections: int, client: Mapping[str, Any]) -> None:
        self._task = {
            "topic": topic,
            "partitions": list(partitions),
            "connections": connections,
            "client": dict(client),
        }
        self._directory = tempfile.TemporaryDirectory()
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        task = Path(self._directory.name) / "task.json"
        task.touch(mode=0o600)
        task.write_text(json.dumps(self._task))
        program = [sys.executable, "-m", "support.noisy", str(task)]
        self.process = subprocess.Popen(
            program, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            said = self.process.communicate(timeout=END_SECONDS)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        finally:
            self._directory.cleanup()
        assert self.process.returncode in (0, -signal.SIGTERM), said


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = [threading.Thread(target=_write, args=(task, stop), daemon=True) for _ in range(task["connections"])]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(timeout=5)


def _write(task: dict[str, Any], stop: threading.Event) -> None:
    from kafka.errors import KafkaError
    from kafka.net.manager import KafkaConnectionManager
    from kafka.net.selector import NetworkSelector

    while not stop.is_set():
        net = NetworkSelector(client_id="noisy")
        manager = KafkaConnectionManager(net, client_id="noisy", request_timeout_ms=60_000, **task["client"])
        try:
            net.run(_keep_writing, manager, task["topic"], task["partitions"], stop)
        except KafkaError as error:
            sys.stderr.write(f"{error!r}\n")
            stop.wait(0.5)
        finally:
            manager.close()
            net.close()


async def _keep_writing(manager: Any, topic: str, partitions: Sequence[int], stop: threading.Event) -> None:
    """One request at a time to each broker that leads some of the partitions, until one is refused or it is to stop."""
    from kafka.errors import for_code

    requests = {node: _request(topic, led) for node, led in (await _leaders(manager, topic, partitions)).items()}
    while not stop.is_set():
        sent = [manager.send(request, node_id=node) for node, request in requests.items()]
        for one in sent:
            for answer in (await one).responses[0].partition_responses:
                if answer.error_code:
                    raise for_code(answer.error_code)(f"partition {answer.index}")


async def _leaders(manager: Any, topic: str, partitions: Sequence[int]) -> dict[int, list[int]]:
    """Partitions by the broker that leads them. Raises KafkaError where one has no leader."""
    from kafka.errors import LeaderNotAvailableError
    from kafka.structs import TopicPartition

    manager.cluster.set_topics([topic])
    await manager.bootstrap_async(60_000)
    led: dict[int, list[int]] = {}
    for partition in partitions:
        leader = manager.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(f"{topic}-{partition}")
        led.setdefault(leader, []).append(partition)
    return led


def _request(topic: str, partitions: Sequence[int]) -> Any:
    """A ProduceRequest with one record for each partition, acks=1."""
    from kafka.protocol.producer import ProduceRequest
    from kafka.record.memory_records import MemoryRecordsBuilder

    batch = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1024)
    batch.append(timestamp=int(time.time() * 1000), key=None, value=b"x")
    batch.close()
    of_topic = ProduceRequest.TopicProduceData
    data = [of_topic.PartitionProduceData(index=at, records=batch.buffer()) for at in partitions]
    return ProduceRequest(
        transactional_id=None,
        acks=1,
        timeout_ms=60_000,
        topic_data=[of_topic(name=topic, partition_data=data)],
        min_version=3,
        max_version=9,
    )


if __name__ == "__main__":
    main()
