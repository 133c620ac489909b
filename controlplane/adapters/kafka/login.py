"""A real client's login with what a user's Secret holds. Blocking, reads only.

librdkafka, because it is what users' clients are: the settings are the Secret's librdkafka.json as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from controlplane.adapters.kafka.security import refused_settings
from controlplane.domain.users.probe import Attempt, LoginResult

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
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND)
_NO_COORDINATOR = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,  # noqa: SLF001 - its public name
)
"""Of a group: as after the first question about a group of a cluster, which makes brokers create __consumer_offsets, or
while they restart. It is asked about again. librdkafka looks for a coordinator all by itself and says no more than that
the question timed out."""
MAX_TOPICS = 200
POLL_SECONDS = 0.1


def log_in(
    settings: Mapping[str, str],
    topics: Sequence[str],
    groups: Sequence[str],
    seconds: float,
    coordinator_seconds: float,
) -> LoginResult:
    """One client for each bootstrap server, `seconds` each; what the user may do is asked through the first that lets
    it in and answers: on every topic that it sees and on those that are named, and on `groups` once they have a
    coordinator, within `coordinator_seconds`. Raises ValueError for settings that are none."""
    attempts: list[Attempt] = []
    way: tuple[AdminClient, list[str]] | None = None
    for server in settings["bootstrap.servers"].split(","):
        client, attempt = _attempt({**settings, "bootstrap.servers": server}, server, seconds)
        if way is None and not attempt.error:
            try:
                way = client, sorted(client.list_topics(timeout=seconds).topics)[:MAX_TOPICS]
            except KafkaException as error:
                attempt = Attempt(server, f"it let the user in and did not answer then: {error.args[0].str()}")
        attempts.append(attempt)
    if way is None:
        return LoginResult(tuple(attempts))
    client, seen = way
    of_topics, refused_topics, silent_topics = allowed_on_topics(client, sorted({*seen, *topics}), seconds)
    of_groups, refused_groups, silent_groups = _allowed_on_groups(
        client, sorted(set(groups)), seconds, coordinator_seconds
    )
    return LoginResult(
        tuple(attempts), of_topics, refused_topics, of_groups, refused_groups, silent_topics, silent_groups
    )


def _attempt(settings: Mapping[str, str], server: str, seconds: float) -> tuple[AdminClient, Attempt]:
    """Ends at the first refusal: librdkafka itself would try again for as long as it is asked."""
    refusals: list[KafkaError] = []
    told: list[KafkaError] = []

    def hear(error: KafkaError) -> None:
        told.append(error)
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):  # noqa: SLF001 - its public names
            refusals.append(error)

    try:
        client = AdminClient({**settings, "error_cb": hear, "log_level": 0, "reconnect.backoff.max.ms": 500})
    except KafkaException as error:
        raise ValueError(refused_settings(settings, error)) from None
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


Asked = tuple[dict[str, frozenset[str]], frozenset[str], dict[str, str]]
"""(operations by name, names that may not be asked about, names that were not answered about and why)"""


def allowed_on_topics(client: AdminClient, names: Sequence[str], seconds: float) -> Asked:
    if not names:
        return {}, frozenset(), {}
    return _answers(
        client.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=seconds
        ),
        seconds,
    )


def _allowed_on_groups(client: AdminClient, names: list[str], seconds: float, coordinator_seconds: float) -> Asked:
    """`seconds` a question, asked again while there is no coordinator."""
    granted: dict[str, frozenset[str]] = {}
    refused, silent, left = frozenset[str](), dict[str, str](), names
    deadline = time.monotonic() + coordinator_seconds
    while left:
        early: set[str] = set()
        futures = client.describe_consumer_groups(left, include_authorized_operations=True, request_timeout=seconds)
        more, also_refused, told = _answers(futures, seconds, early)
        granted, refused = granted | more, refused | also_refused
        if time.monotonic() >= deadline:
            early.clear()
        left, silent = sorted(early), silent | {name: why for name, why in told.items() if name not in early}
        if left:
            client.poll(POLL_SECONDS)
    return granted, refused, silent


def _answers(futures: Mapping[str, Future[Any]], seconds: float, early: set[str] | None = None) -> Asked:
    """What does not exist is in none of them. `early` gets those that may have no coordinator yet."""
    granted, refused, silent = {}, set(), {}
    for name, future in futures.items():
        try:
            found = future.result(timeout=seconds + 1)
        except KafkaException as error:
            if error.args[0].code() in _REFUSED:
                refused.add(name)
            elif error.args[0].code() not in _MISSING:
                silent[name] = f"{error.args[0].name()}: {error.args[0].str()}"
                if early is not None and error.args[0].code() in _NO_COORDINATOR:
                    early.add(name)
        except TimeoutError:
            silent[name] = f"no answer within {seconds:g} s"
            if early is not None:
                early.add(name)
        else:
            granted[name] = frozenset(NAMES[one] for one in found.authorized_operations or () if one in NAMES)
    return granted, frozenset(refused), silent
