"""kafka-python's errors and Kafka's error codes as the port's KafkaError."""

from __future__ import annotations

from kafka import errors as kafka_errors

from controlplane.ports import KafkaError

NONE = 0
_NAMES = {
    -1: "UNKNOWN_SERVER_ERROR",
    6: "NOT_LEADER_OR_FOLLOWER",
    10: "MESSAGE_TOO_LARGE",
    17: "INVALID_TOPIC_EXCEPTION",
    39: "INVALID_REPLICA_ASSIGNMENT",
}
"""Where kafka-python's name for a code is not Kafka's (org.apache.kafka.common.protocol.Errors)."""


def of_code(code: int, message: str | None = None) -> KafkaError | None:
    """None for code 0. `message` is the broker's own; without one, Kafka's description of the code."""
    if code == NONE:
        return None
    if code not in kafka_errors.kafka_errors:
        return KafkaError(f"ERROR_{code}", message or f"Kafka's error {code}, which this client does not know")
    known = kafka_errors.kafka_errors[code]
    return KafkaError(
        _NAMES.get(code, str(known.message)), message or str(known.description), retriable=bool(known.retriable)
    )


def check(code: int, message: str | None = None) -> None:
    """Raises KafkaError unless `code` is 0."""
    if error := of_code(code, message):
        raise error


def of_client(error: kafka_errors.KafkaError) -> KafkaError:
    """An error of the client itself: authentication, or a broker too old for a request."""
    name = str(getattr(error, "message", "")) or type(error).__name__
    text = str(error.args[0]) if error.args else str(getattr(error, "description", "")) or name
    return KafkaError(name, text, retriable=bool(error.retriable))
