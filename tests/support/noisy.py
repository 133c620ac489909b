"""A client that keeps request handlers busy without using the machine's processors: `python -m support.noisy FILE`.

Each request writes to all partitions of a topic with `flush.messages=1`: the handler that serves it flushes one file
after the other to the disk and waits for each (UnifiedLog.append). Several connections, each with one request after the
other, are a queue in front of the handlers. kafka-python packs all partitions of a broker into one request; librdkafka
sends one for each.

FILE is JSON: {"topic", "partitions", "connections", "client": KafkaProducer's settings}. Runs until SIGTERM.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

FLUSHED = {"flush.messages": "1", "min.insync.replicas": "1"}
"""Configs of the topic."""
END_SECONDS = 60


class Noise:
    """The client as a process of a test, from `with` to its end."""

    def __init__(self, topic: str, partitions: int, connections: int, client: Mapping[str, Any]) -> None:
        self._task = {"topic": topic, "partitions": partitions, "connections": connections, "client": dict(client)}
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
            _, said = self.process.communicate(timeout=END_SECONDS)
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
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    while not stop.is_set():
        producer = None
        try:
            producer = KafkaProducer(acks=1, linger_ms=20, request_timeout_ms=60_000, **task["client"])
            while not stop.is_set():
                sent = [producer.send(task["topic"], b"x", partition=at) for at in range(task["partitions"])]
                producer.flush(timeout=60)
                for one in sent:
                    one.get(timeout=60)
        except KafkaError as error:
            sys.stderr.write(f"{error!r}\n")
            stop.wait(0.5)
        finally:
            if producer is not None:
                producer.close(timeout=1)


if __name__ == "__main__":
    main()
