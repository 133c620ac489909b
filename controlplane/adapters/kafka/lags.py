"""The lag of consumer groups: what is committed against the ends of the logs. Blocking, reads only.

librdkafka's admin client, because it finds each group's coordinator and each partition's leader by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from controlplane.adapters.kafka.security import librdkafka_tls
from controlplane.domain.rolling.canary import GROUPS_ASKED, LagSample
from controlplane.ports import ClientTls

_log = logging.getLogger(__name__)
T = TypeVar("T")

_LIVE = {
    ConsumerGroupState.STABLE,
    ConsumerGroupState.PREPARING_REBALANCING,
    ConsumerGroupState.COMPLETING_REBALANCING,
    ConsumerGroupState.EMPTY,
    ConsumerGroupState.UNKNOWN,
}
"""Empty ones too: consumers that cannot come back after a broker's restart leave such a group behind."""


class GroupLags:
    """The groups of one cluster: those that use Kafka's consumer protocols, not share groups."""

    def __init__(self, servers: Sequence[str], tls: ClientTls | None = None) -> None:
        self._client = AdminClient(
            {
                "bootstrap.servers": ",".join(servers),
                "client.id": "kfleet-lags",
                "metadata.recovery.strategy": "rebootstrap",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
                "error_cb": lambda _: None,
            }
            | librdkafka_tls(tls)
        )

    def sample(self, seconds: float) -> LagSample | None:
        """Within about `seconds`; None if the groups cannot be listed. A group or partition that does not answer in
        time is left out of this look."""
        deadline = time.monotonic() + seconds
        try:
            listed = self._client.list_consumer_groups(request_timeout=seconds).result(timeout=seconds)
        except (KafkaException, TimeoutError):
            return None
        if listed.errors and not listed.valid:
            return None
        # "" is the group of consumers without one that commit all the same; librdkafka cannot ask for it.
        names = sorted(group.group_id for group in listed.valid if group.group_id and group.state in _LIVE)
        committed = self._committed(names[:GROUPS_ASKED], deadline)
        ends = self._ends({partition for offsets in committed.values() for partition in offsets}, deadline)
        lags = {
            name: sum(max(0, ends[partition] - offset) for partition, offset in offsets.items())
            for name, offsets in committed.items()
            if offsets and offsets.keys() <= ends.keys()
        }
        return LagSample(time.monotonic(), lags, max(0, len(names) - GROUPS_ASKED))

    def _committed(self, names: Iterable[str], deadline: float) -> dict[str, dict[tuple[str, int], int]]:
        asked = {}
        for name in names:
            try:
                request = [ConsumerGroupTopicPartitions(name)]
                futures = self._client.list_consumer_group_offsets(request, request_timeout=_left(deadline))
            except (KafkaException, ValueError, TypeError) as error:  # a group that the client itself refuses
                _log.debug("group %r: %s", name, error)
                continue
            asked[name] = futures[name]
        return {
            name: {(one.topic, one.partition): one.offset for one in answer.topic_partitions if one.offset >= 0}
            for name, answer in _answers(asked, deadline).items()
        }

    def _ends(self, partitions: set[tuple[str, int]], deadline: float) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        futures = self._client.list_offsets(
            {TopicPartition(topic, number): OffsetSpec.latest() for topic, number in sorted(partitions)},
            request_timeout=_left(deadline),
        )
        asked = {(partition.topic, partition.partition): future for partition, future in futures.items()}
        return {partition: answer.offset for partition, answer in _answers(asked, deadline).items()}


def _answers(asked: Mapping[T, Future[Any]], deadline: float) -> dict[T, Any]:
    found = {}
    for key, future in asked.items():
        try:
            found[key] = future.result(timeout=_left(deadline))
        except (KafkaException, TimeoutError):
            continue
    return found


def _left(deadline: float) -> float:
    """librdkafka takes no time-out below a millisecond."""
    return max(0.1, deadline - time.monotonic())
