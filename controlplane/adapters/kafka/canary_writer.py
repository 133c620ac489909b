"""The canary's producer: a steady rate, acks=all, idempotent, every answer noted with the time it came.

Latencies must be the broker's and not Python's, so the one loop does nothing but produce small bursts and serve
callbacks, and it measures itself: `worst_pause_ms` is the longest time it did not look for answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from controlplane.adapters.journal import JournalWriter
from controlplane.domain.canary import NEW_EPOCH, Ack, CanaryError, CanaryOptions, Failed, Payload
from controlplane.domain.journal import ack_line, failed_line, sent_line

TICK_S = 0.005
"""Records due within one tick go to one partition in one burst, and the next tick to the next partition: a request a
tick instead of one a record."""
CATCH_UP_TICKS = 4
"""After a pause of our own the schedule is caught up by at most this many ticks' worth a tick, not in one flood."""

IN_FLIGHT = 1
"""One unanswered request per broker. With more, a leader that moves lets a later request meet
OUT_OF_ORDER_SEQUENCE, upon which librdkafka takes a new producer epoch and sends again what it has no answer for: the
client, not the cluster, writes records twice (librdkafka issue 4953, open in 2.16.0). A broker answers one produce
request of a connection at a time, so that this costs a round trip, not a stall."""
STATISTICS_MS = 1_000


def client_config(options: CanaryOptions, note: Callable[[str], None]) -> dict[str, Any]:
    """What every client of the canary shares. Connection errors go to `note`, not to stderr."""
    return {
        **options.login,
        "bootstrap.servers": options.bootstrap,
        "client.id": f"kfleet-canary-{options.run}",
        "metadata.recovery.strategy": "rebootstrap",
        "topic.metadata.refresh.interval.ms": 10_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "socket.connection.setup.timeout.ms": 5_000,
        "log_level": 0,
        "error_cb": lambda error: note(error.str()),
    }


class RecordWriter:
    """Produces until told to stop. One thread drives it; callbacks come on that thread."""

    def __init__(
        self, options: CanaryOptions, partitions: int, journal: JournalWriter, note: Callable[[str], None]
    ) -> None:
        self._options, self._journal, self._note = options, journal, note
        self.next_sequence = [0] * partitions
        self.acked_offsets = [-1] * partitions
        """The highest acknowledged offset of each partition; the reader looks whether it is behind."""
        self.sent = self.acked = self.failed = self.replaced = 0
        self.worst_pause_ms = 0.0
        self._looks = 0
        self._answer_ns = self._looked_ns = time.monotonic_ns()
        self._producer = self._make()
        self._probe: Future[Producer | None] | None = None
        self._prober = ThreadPoolExecutor(1, thread_name_prefix="probe")

    @property
    def outstanding(self) -> int:
        return self.sent - self.acked - self.failed

    def run(self, stop: threading.Event, tick: Callable[[], None]) -> None:
        """Until `stop` is set or the duration is over; `tick` is called between bursts. Raises CanaryError."""
        options = self._options
        most = max(1, int(options.rate * TICK_S * CATCH_UP_TICKS) + 1)
        begin_ns = self._looked_ns = self._answer_ns = time.monotonic_ns()
        end_ns = None if options.duration is None else begin_ns + int(options.duration * 1e9)
        partition, next_tick_ns = 0, begin_ns
        while not stop.is_set():
            now_ns = time.monotonic_ns()
            if end_ns is not None and now_ns >= end_ns:
                return
            if now_ns >= next_tick_ns:
                due = min(most, int((now_ns - begin_ns) * options.rate / 1e9) + 1 - self.sent)
                if due > 0:
                    self._burst(partition, due)
                    partition = (partition + 1) % len(self.next_sequence)
                next_tick_ns = max(next_tick_ns + int(TICK_S * 1e9), now_ns)
                self._journal.check()
                self._replace_if_offline(now_ns)
                tick()
            self._serve(next_tick_ns)

    def flush(self, deadline: float) -> bool:
        """Waits for every answer until `deadline` (monotonic seconds). False if some never came.

        Then for the client's next statistics: an epoch that it took for the last answers has to be noted, too.
        """
        while self.outstanding and time.monotonic() < deadline:
            self._producer.poll(0.05)
            self._replace_if_offline(time.monotonic_ns())
        looks = self._looks
        while self._looks == looks and time.monotonic() < deadline:
            self._producer.poll(0.05)
        self._prober.shutdown(wait=False, cancel_futures=True)
        return not self.outstanding

    def _make(self) -> Producer:
        options = self._options
        timeout_ms = int(options.delivery_timeout * 1000)
        return Producer(
            client_config(options, self._note)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "max.in.flight.requests.per.connection": IN_FLIGHT,
                "linger.ms": 1,
                "delivery.timeout.ms": timeout_ms,
                "request.timeout.ms": min(30_000, timeout_ms),
                "retry.backoff.ms": 20,
                "retry.backoff.max.ms": 200,
                "queue.buffering.max.messages": max(100_000, int(2 * options.rate * options.delivery_timeout)),
                "on_delivery": self._answered,
                "statistics.interval.ms": STATISTICS_MS,
                "stats_cb": self._statistics(),
            }
        )

    def _statistics(self) -> Callable[[str], None]:
        """Notes each change of one producer's id or epoch (`epoch_cnt` of the statistics does not count bumps).

        A producer's first epoch is 0: another one at the first look was taken before it.
        """
        known: tuple[int, int] | None = None

        def look(document: str) -> None:
            nonlocal known
            self._looks += 1
            eos = json.loads(document)["eos"]
            found = eos["producer_id"], eos["producer_epoch"]
            if min(found) < 0 or found == known:
                return
            if known is not None or found[1] > 0:
                self._note(NEW_EPOCH)
            known = found

        return look

    def _burst(self, partition: int, count: int) -> None:
        """`count` records with one time, journalled as one line. Stops early when the client's queue is full."""
        options, producer = self._options, self._producer
        first = self.next_sequence[partition]
        now_ns = time.monotonic_ns()
        taken = 0
        try:
            for sequence in range(first, first + count):
                value = Payload(options.run, partition, sequence, now_ns).encode()
                producer.produce(options.topic, value, partition=partition)
                taken += 1
        except BufferError:
            self._note("the client's queue is full: nothing has been answered for long")
        except KafkaException as error:
            self._note(f"produce: {error.args[0].str()}")
            if error.args[0].code() == KafkaError._FATAL:  # noqa: SLF001 - how the client names it
                self._swap(self._make(), "fatal error")
        if taken:
            self._journal.write(sent_line(partition, first, taken, now_ns))
            self.next_sequence[partition] = first + taken
            self.sent += taken

    def _serve(self, until_ns: int) -> None:
        """Callbacks until `until_ns`; whole milliseconds, because less would be a busy loop."""
        now_ns = time.monotonic_ns()
        wait_s = max(0.001, (until_ns - now_ns) / 1e9)
        self.worst_pause_ms = max(self.worst_pause_ms, (now_ns - self._looked_ns) / 1e6)
        self._producer.poll(wait_s)
        self._looked_ns = time.monotonic_ns()

    def _answered(self, error: KafkaError | None, message: Any) -> None:
        now_ns = time.monotonic_ns()
        payload = Payload.decode(message.value())
        if payload is None:
            raise CanaryError("the client answered for a record that this canary did not write")
        run, partition, sequence, sent_ns = payload
        if error is not None:
            self.failed += 1
            self._journal.write(failed_line(Failed(run, partition, sequence, sent_ns, now_ns, error.str())))
            return
        self.acked += 1
        self._answer_ns = now_ns
        offset = -1 if message.offset() is None else message.offset()
        self.acked_offsets[partition] = max(self.acked_offsets[partition], offset)
        self._journal.write(ack_line(Ack(run, partition, sequence, sent_ns, now_ns, offset)))

    def _replace_if_offline(self, now_ns: int) -> None:
        """librdkafka issue 5301: asks with a fresh client whether the silence is the cluster's or the client's."""
        if self._probe is not None:
            if not self._probe.done():
                return
            fresh, self._probe = self._probe.result(), None
            if fresh is not None and self._silent_s(now_ns) > self._options.offline_after:
                self._swap(fresh, f"no answer for {self._silent_s(now_ns):.0f} s while a fresh client gets answers")
        elif self.outstanding and self._silent_s(now_ns) > self._options.offline_after:
            self._probe = self._prober.submit(self._reachable)

    def _silent_s(self, now_ns: int) -> float:
        return (now_ns - self._answer_ns) / 1e9

    def _reachable(self) -> Producer | None:
        """A fresh producer, if it finds a leader for every partition."""
        fresh = self._make()
        try:
            topic = fresh.list_topics(self._options.topic, timeout=5).topics[self._options.topic]
        except KafkaException:
            return None
        found = len(topic.partitions) >= len(self.next_sequence)
        return fresh if found and all(one.leader >= 0 for one in topic.partitions.values()) else None

    def _swap(self, fresh: Producer, why: str) -> None:
        """What the old client still held counts as failed (its fate is unknown), never as acknowledged."""
        self._note(f"producer replaced: {why}")
        old, self._producer = self._producer, fresh
        self.replaced += 1
        old.purge()
        old.flush(5)
        self._answer_ns = time.monotonic_ns()
