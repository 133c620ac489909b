"""A real client's login with what a user's Secret holds. Blocking, reads only.

librdkafka, because it is what users' clients are: the settings are the Secret's librdkafka.json as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from controlplane.domain.users.probe import Attempt, LoginResult

K = TypeVar("K")
NAMES = {
    AclOperation.READ: "Read",
    AclOperation.WRITE: "Write",
    AclOperation.CREATE: "Create",
    AclOperation.DELETE: "Delete",
    AclOperation.ALTER: "Alter",
    AclOperation.DESCRIBE: "Describe",
    AclOperation.DESCRIBE_CONFIGS: "DescribeConfigs",
    AclOperation.ALTER_CONFIGS: "AlterConfigs",
}
MAX_TOPICS = 200
POLL_SECONDS = 0.1


def log_in(settings: Mapping[str, str], groups: Sequence[str], seconds: float) -> LoginResult:
    """One client for each bootstrap server, `seconds` each; what the user may do is asked through the first that lets
    it in. Raises KafkaException for settings that are none."""
    attempts, first = [], None
    for server in settings["bootstrap.servers"].split(","):
        client, attempt = _attempt({**settings, "bootstrap.servers": server}, server, seconds)
        attempts.append(attempt)
        first = first or (client if not attempt.error else None)
    if first is None:
        return LoginResult(tuple(attempts))
    topics = frozenset(first.list_topics(timeout=seconds).topics)
    return LoginResult(
        tuple(attempts),
        topics,
        topic_operations=_of_topics(first, sorted(topics)[:MAX_TOPICS], seconds),
        group_operations=_of_groups(first, groups, seconds),
    )


def _attempt(settings: Mapping[str, str], server: str, seconds: float) -> tuple[AdminClient, Attempt]:
    """Ends at the first refusal: librdkafka itself would try again for as long as it is asked."""
    refusals: list[KafkaError] = []
    told: list[KafkaError] = []

    def hear(error: KafkaError) -> None:
        told.append(error)
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):  # noqa: SLF001 - its public names
            refusals.append(error)

    client = AdminClient({**settings, "error_cb": hear, "log_level": 0, "reconnect.backoff.max.ms": 500})
    deadline = time.monotonic() + seconds
    while not refusals:
        left = deadline - time.monotonic()
        if left <= 0:
            return client, Attempt(server, told[-1].str() if told else f"no answer within {seconds:g} s")
        try:
            client.list_topics(timeout=min(1.0, left))
        except KafkaException:
            client.poll(POLL_SECONDS)
        else:
            return client, Attempt(server)
    return client, Attempt(server, refusals[0].str())


def _of_topics(client: AdminClient, names: list[str], seconds: float) -> dict[str, frozenset[str]]:
    if not names:
        return {}
    futures = client.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=seconds
    )
    return {name: _names(found.authorized_operations) for name, found in _answers(futures, seconds).items()}


def _of_groups(client: AdminClient, names: Sequence[str], seconds: float) -> dict[str, frozenset[str]]:
    if not names:
        return {}
    futures = client.describe_consumer_groups(list(names), include_authorized_operations=True, request_timeout=seconds)
    return {name: _names(found.authorized_operations) for name, found in _answers(futures, seconds).items()}


def _answers(futures: Mapping[K, Future[Any]], seconds: float) -> dict[K, Any]:
    """Without those that are refused: what is not there is not granted, or does not exist."""
    found = {}
    for name, future in futures.items():
        try:
            found[name] = future.result(timeout=seconds + 1)
        except (KafkaException, TimeoutError):
            continue
    return found


def _names(operations: Sequence[AclOperation] | None) -> frozenset[str]:
    return frozenset(NAMES[operation] for operation in operations or () if operation in NAMES)
