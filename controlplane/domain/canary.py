"""What a canary writes into Kafka, and what it notes outside Kafka.

Every record carries (run, partition, sequence, time). Sequences are per (run, partition), from 0, without gaps, chosen
by the producer, who also sets the partition. All times are nanoseconds of one monotonic clock per run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

READ_LIVE: Final = "live"
READ_END: Final = "end"
PLAINTEXT: Final = "PLAINTEXT"

NEW_EPOCH: Final = "the client took a new producer epoch: records unanswered then may be in the log twice"
"""A note in the journal. A copy of a record without this note before it was made by the cluster, not by the client."""


class Sent(NamedTuple):
    """The producer took this record (a tuple, not a dataclass: there are millions)."""

    run: str
    partition: int
    sequence: int
    sent_at_ns: int


class Ack(NamedTuple):
    """The broker acknowledged it. `offset` is -1 where the client does not know it."""

    run: str
    partition: int
    sequence: int
    sent_at_ns: int
    acked_at_ns: int
    offset: int


class Failed(NamedTuple):
    """The client gave it up; it may still be in the log (its fate is unknown, not absent)."""

    run: str
    partition: int
    sequence: int
    sent_at_ns: int
    failed_at_ns: int
    error: str


class Consumed(NamedTuple):
    """Read back from the log."""

    run: str
    partition: int
    sequence: int
    offset: int
    consumed_at_ns: int


Event = Sent | Ack | Failed | Consumed


class Payload(NamedTuple):
    """A record's value."""

    run: str
    partition: int
    sequence: int
    sent_at_ns: int

    def encode(self) -> bytes:
        """Text, so that any console consumer shows it: `run partition sequence sent_at_ns`."""
        return b"%s %d %d %d" % (self.run.encode(), self.partition, self.sequence, self.sent_at_ns)

    @staticmethod
    def decode(value: bytes) -> Payload | None:
        """None for a record that no canary wrote: a topic may have other writers."""
        fields = value.split(b" ")
        if len(fields) != len(Payload._fields):
            return None
        run, *numbers = fields
        try:
            return Payload(run.decode(), *map(int, numbers))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class CanaryOptions:
    """One canary run. Durations are seconds.

    `read`: "live" follows the log while producing; "end" reads it only once producing has stopped, from where the run
    began, so that it sees what is there afterwards. `offline_after`: a client without an answer for this long, while a
    fresh one gets answers, is replaced (librdkafka issue 5301: a metadata answer without brokers can leave a client
    offline for good).
    `login`: librdkafka's settings of who logs in (domain.users.secret.read_librdkafka). Passwords and keys are in them:
    they are shown nowhere. Empty for a listener that lets everybody in, in plaintext.
    """

    bootstrap: str
    topic: str
    run: str
    rate: float = 1000.0
    duration: float | None = None
    read: Literal["live", "end"] = READ_LIVE
    delivery_timeout: float = 120.0
    drain_timeout: float = 60.0
    connect_timeout: float = 15.0
    offline_after: float = 30.0
    login: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def protocol(self) -> str:
        """Kafka's word for how it connects."""
        return self.login.get("security.protocol", PLAINTEXT)


class CanaryError(Exception):
    """The canary cannot run or go on; the message says what is wrong and what to do."""
