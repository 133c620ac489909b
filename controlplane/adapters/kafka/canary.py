"""One canary run: find the topic, write and read until told to stop, read to a fixed end, account from the journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from controlplane.adapters.journal import JournalWriter, account_journals
from controlplane.adapters.kafka.canary_reader import LogReader, end_offsets
from controlplane.adapters.kafka.canary_writer import RecordWriter, client_config
from controlplane.adapters.kafka.login import allowed_on_topics
from controlplane.adapters.kafka.security import refused_settings
from controlplane.domain.accounting import CanaryResult
from controlplane.domain.canary import READ_LIVE, CanaryError, CanaryOptions
from controlplane.domain.journal import Header, note_line, summary_line

PROGRESS_S = 5.0
REPEATED_NOTE_S = 1.0
ASK_AGAIN_S = 0.2
ASK_TIMEOUT_S = 5.0
NEEDED = frozenset({"Read", "Write"})
ALLOW = "allow its user Read and Write on the topic (spec.authorization.acls of a KafkaUser)"
_REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - how the client names them


class Canary:
    """Raises CanaryError for what a person can mend: no broker answers or lets it in, no topic that it may use, no
    journal."""

    def __init__(self, options: CanaryOptions, journal: JournalWriter, say: Callable[[str], None]) -> None:
        self._options, self._journal, self._say = options, journal, say
        self._noted: dict[str, float] = {}
        self._early: list[str] | None = []
        """Notes from before the journal's first line; None once that is written."""

    def run(self, stop: threading.Event, *, warm_up_s: float) -> CanaryResult:
        options = self._options
        partitions = self._find_topic()
        starts = end_offsets(options, partitions, time.monotonic() + options.connect_timeout, self._note)
        if starts is None:
            raise CanaryError(f"{options.bootstrap} does not tell the end of topic {options.topic}; is it serving?")
        self._begin(starts)
        writer = RecordWriter(options, partitions, self._journal, self._note)
        reader = LogReader(options, starts, writer.acked_offsets, self._journal, self._note)
        if options.read == READ_LIVE:
            reader.start()
        self._say(
            f"run {options.run}: {options.rate:g} records/s to {options.topic} ({partitions} partitions, "
            f"{options.protocol})"
        )
        writer.run(stop, _Progress(writer, reader, self._say))
        why = self._drain(writer, reader, partitions)
        self._journal.sync()
        account, _ = account_journals([self._journal.path], warm_up_s=warm_up_s)
        result = CanaryResult(
            account=account,
            complete=not why,
            why=why,
            worst_pause_ms=round(writer.worst_pause_ms, 3),
            clients_replaced=writer.replaced + reader.replaced,
        )
        self._journal.write(summary_line(result.to_json()))
        return result

    def _find_topic(self) -> int:
        """The topic's partitions; asks until `connect_timeout`: a fresh cluster may still elect leaders, and a broker
        may not have heard of a fresh topic, or of what a fresh user may do."""
        options = self._options
        told: list[KafkaError] = []

        def hear(error: KafkaError) -> None:
            told.append(error)
            self._note(error.str())

        try:
            client = AdminClient(client_config(options, self._note) | {"error_cb": hear})
        except KafkaException as error:
            raise CanaryError(f"--config: {refused_settings(options.login, error)}") from None
        deadline = time.monotonic() + options.connect_timeout
        while True:
            try:
                left = max(1.0, deadline - time.monotonic())
                found = client.list_topics(options.topic, timeout=left).topics[options.topic]
            except KafkaException as error:
                client.poll(0)
                raise CanaryError(self._unreached(told or [error.args[0]])) from error
            problem = self._problem(found, client)
            if not problem:
                return len(found.partitions)
            if time.monotonic() >= deadline:
                raise CanaryError(f"topic {options.topic} at {options.bootstrap}: {problem}")
            time.sleep(ASK_AGAIN_S)

    def _unreached(self, told: Sequence[KafkaError]) -> str:
        """Why no broker would have to do with us. That one does not let us in says more than that others are down."""
        options = self._options
        refusals = [error for error in told if error.code() in _REFUSED]
        if refusals:
            return f"{options.bootstrap} does not let it in ({refusals[-1].str()}); check --config"
        reasons = [error for error in told if error.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001 - the same
        return (
            f"no broker answered at {options.bootstrap} within {options.connect_timeout:g} s "
            f"({(reasons or told)[-1].str()}); check the address, that the cluster is up, and "
            f"{'--config' if options.login else 'whether it wants a login (--config)'}"
        )

    def _problem(self, found: Any, client: AdminClient) -> str:
        """What keeps it from writing and reading the topic, and what to do; empty if nothing does."""
        error = found.error
        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return f"{error.str()}; {ALLOW}"
        if error is not None or not found.partitions:
            return f"{error.str() if error is not None else 'no partitions'}; create the topic first"
        topic = self._options.topic
        if not self._options.login:
            return ""
        granted, *_ = allowed_on_topics(client, [topic], ASK_TIMEOUT_S)
        missing = NEEDED - granted.get(topic, NEEDED)
        return f"{' and '.join(sorted(missing))} not allowed; {ALLOW}" if missing else ""

    def _begin(self, starts: list[int]) -> None:
        """The journal's first line, then what was noted before."""
        options = self._options
        header = Header(
            run=options.run,
            topic=options.topic,
            start_offsets=tuple(starts),
            bootstrap=options.bootstrap,
            rate=options.rate,
            protocol=options.protocol,
            client=f"librdkafka {confluent_kafka.libversion()[0]}",
            started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        early, self._early = self._early or [], None
        self._journal.write(header.line() + "".join(early))

    def _drain(self, writer: RecordWriter, reader: LogReader, partitions: int) -> str:
        """Answers first, then the log to the end it has after them. Empty, or why it did not get there."""
        options = self._options
        deadline = time.monotonic() + options.drain_timeout
        self._say(f"stopped producing; reading to the end (at most {options.drain_timeout:g} s)")
        flushed = writer.flush(deadline)
        ends = end_offsets(options, partitions, deadline, self._note)
        if ends is not None and options.read != READ_LIVE:
            reader.start()
        if ends is None:
            if options.read == READ_LIVE:
                reader.finish([0] * partitions, deadline)
            return f"the log's end was not told within {options.drain_timeout:g} s"
        if not reader.finish(ends, deadline):
            return f"the log was not read to its end within {options.drain_timeout:g} s"
        return "" if flushed else f"{writer.outstanding} records were not answered in {options.drain_timeout:g} s"

    def _note(self, text: str) -> None:
        """Into the journal, the same text at most once a second."""
        now = time.monotonic()
        if now - self._noted.get(text, -REPEATED_NOTE_S) >= REPEATED_NOTE_S:
            self._noted[text] = now
            line = note_line(time.monotonic_ns(), text)
            if self._early is None:
                self._journal.write(line)
            else:
                self._early.append(line)


class _Progress:
    """A line every PROGRESS_S; called on every tick."""

    def __init__(self, writer: RecordWriter, reader: LogReader, say: Callable[[str], None]) -> None:
        self._writer, self._reader, self._say = writer, reader, say
        self._begin = self._last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_S:
            self._last = now
            writer = self._writer
            self._say(
                f"{now - self._begin:.0f} s: sent {writer.sent} acknowledged {writer.acked} "
                f"failed {writer.failed} read {self._reader.read}"
            )
