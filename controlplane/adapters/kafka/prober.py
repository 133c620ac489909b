"""The operator's canary: one small record a partition now and then, acks=all, and how long each took to be answered.

Blocking, and not safe for two threads at once: `adapters.kafka.witness` runs one round after the other in its executor.
An answer counts from when it is looked at (`Message.latency` is no better: it is computed when it is asked), so that a
round waits for its answers: milliseconds while all is well, `ROUND_SECONDS` at most.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from controlplane.adapters.kafka.security import librdkafka_tls
from controlplane.domain.rolling.canary import DEADLINE_SECONDS, PROBE_SECONDS, PROBES_A_ROUND, TOPIC, Probe
from controlplane.ports import ClientTls

_log = logging.getLogger(__name__)

ROUND_SECONDS = 0.9 * PROBE_SECONDS
WARM_UP_SECONDS = 2.0
"""Answers to what a new client sends at first are not counted: it connects and asks for metadata. Failures are."""
SILENT_SECONDS = 4.0
"""Without any answer for so long while probes are out, a fresh client is asked whether the cluster or ours is mute."""
FRESH_SECONDS = 2.0
SECOND_CHANCE_SECONDS = 1.0
_OURS = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001 - how the client names them
"""Records that we gave up with their client: nobody's failure."""


class Prober:
    """Probes of one cluster's canary topic. A client that librdkafka issue 5301 leaves offline is replaced, and what it
    still held is not counted: a fault of ours must not look like the cluster's."""

    def __init__(self, servers: Sequence[str], tls: ClientTls | None = None) -> None:
        self._servers, self._tls = tuple(servers), tls
        self._producer = self._make()
        self._answers: list[Probe] = []
        self._out: dict[int, int] = {}
        """Probes not answered yet, by partition."""
        self._heard = self._made = time.monotonic()
        self._next = 0
        self.replaced = 0

    def round(self, servers: Sequence[str], leaders: Sequence[int | None]) -> list[Probe]:
        """Send the next probes (`leaders` by partition, all of them or `PROBES_A_ROUND`), and return what was answered
        since the last round. Blocks until all are, for `ROUND_SECONDS`; a few seconds more while nothing answers."""
        until = time.monotonic() + ROUND_SECONDS
        self._servers = tuple(servers)
        self._producer.poll(0)
        if not self._out:
            self._heard = time.monotonic()
        count = len(leaders)
        for step in range(min(count, PROBES_A_ROUND)):
            self._send((self._next + step) % count, leaders)
        self._next = (self._next + PROBES_A_ROUND) % count if count > PROBES_A_ROUND else 0
        while self._out and time.monotonic() < until:
            self._producer.poll(max(0.0, until - time.monotonic()))
        if self._out and time.monotonic() - self._heard > SILENT_SECONDS:
            self._replace_if_ours()
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(SECOND_CHANCE_SECONDS)

    def _make(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": ",".join(self._servers),
                "client.id": "kfleet-canary-operator",
                "metadata.recovery.strategy": "rebootstrap",
                "topic.metadata.refresh.interval.ms": 10_000,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "socket.connection.setup.timeout.ms": 5_000,
                "acks": "all",
                "linger.ms": 0,
                "delivery.timeout.ms": int(DEADLINE_SECONDS * 1000),
                "request.timeout.ms": int(DEADLINE_SECONDS * 1000),
                "retry.backoff.ms": 20,
                "retry.backoff.max.ms": 200,
                "log_level": 0,
                "error_cb": _note,
            }
            | librdkafka_tls(self._tls)
        )

    def _send(self, partition: int, leaders: Sequence[int | None]) -> None:
        leader, sent, made = leaders[partition], time.monotonic(), self._made

        def answered(error: KafkaError | None, _: Any) -> None:
            self._out[partition] -= 1
            if not self._out[partition]:
                del self._out[partition]
            now = time.monotonic()
            if error is None:
                self._heard = now
                if sent - made > WARM_UP_SECONDS:
                    self._answers.append(Probe(now, leader, now - sent))
            elif error.code() not in _OURS:
                self._answers.append(Probe(now, leader, None, f"partition {partition}: {error.str()}"))

        try:
            self._producer.produce(TOPIC, b"kfleet canary", partition=partition, on_delivery=answered)
        except (BufferError, KafkaException) as error:
            self._answers.append(Probe(time.monotonic(), leader, None, f"partition {partition}: {error}"))
        else:
            self._out[partition] = self._out.get(partition, 0) + 1

    def _replace_if_ours(self) -> None:
        """A fresh client that gets an answer where ours gets none, and ours still none after a second chance."""
        heard = self._heard
        fresh = self._make()
        answered: list[bool] = []
        for partition in list(self._out)[:PROBES_A_ROUND]:
            fresh.produce(TOPIC, b"kfleet canary", partition=partition, on_delivery=lambda e, _: answered.append(not e))
        deadline = time.monotonic() + FRESH_SECONDS
        while not any(answered) and time.monotonic() < deadline:
            fresh.poll(0.1)
        if any(answered):
            self._producer.poll(SECOND_CHANCE_SECONDS)
        if not any(answered) or self._heard != heard:
            fresh.purge()
            fresh.flush(SECOND_CHANCE_SECONDS)
            return
        _log.warning("the canary's client was mute for %.0f s while a fresh one got answers", SILENT_SECONDS)
        old, self._producer = self._producer, fresh
        self.replaced += 1
        old.purge()
        old.flush(SECOND_CHANCE_SECONDS)
        self._out.clear()
        self._heard = self._made = time.monotonic()


def _note(error: KafkaError) -> None:
    _log.debug("canary: %s", error.str())
