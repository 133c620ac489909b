"""Who is a member of a cluster: AddRaftVoter, RemoveRaftVoter (KIP-853) and UnregisterBroker (KIP-631).

kafka-python ships none of the three; its message classes load our copies of Kafka's own schemas.
"""

from __future__ import annotations

from typing import Any

from kafka.protocol.admin import DescribeClusterRequest
from kafka.protocol.api_message import ApiMessage

from controlplane.adapters.kafka.errors import check
from controlplane.adapters.kafka.raw import uuid_of

_SCHEMAS = "controlplane.adapters.kafka.messages"
_LISTENER = "CONTROLLER"
BROKERS = 1
"""DescribeClusterRequest's EndpointType."""


class AddRaftVoterRequest(ApiMessage, load_json=_SCHEMAS): ...  # type: ignore[call-arg, misc]


class AddRaftVoterResponse(ApiMessage, load_json=_SCHEMAS): ...  # type: ignore[call-arg, misc]


class RemoveRaftVoterRequest(ApiMessage, load_json=_SCHEMAS): ...  # type: ignore[call-arg, misc]


class RemoveRaftVoterResponse(ApiMessage, load_json=_SCHEMAS): ...  # type: ignore[call-arg, misc]


class UnregisterBrokerRequest(ApiMessage, load_json=_SCHEMAS): ...  # type: ignore[call-arg, misc]


class UnregisterBrokerResponse(ApiMessage, load_json=_SCHEMAS): ...  # type: ignore[call-arg, misc]


def add_voter(cluster_id: str, node: int, directory_id: str, *, host: str, port: int, timeout_ms: int) -> Any:
    listener = AddRaftVoterRequest.Listener(name=_LISTENER, host=host, port=port)
    return AddRaftVoterRequest(
        cluster_id=cluster_id,
        timeout_ms=timeout_ms,
        voter_id=node,
        voter_directory_id=uuid_of(directory_id),
        listeners=[listener],
    )


def remove_voter(cluster_id: str, node: int, directory_id: str) -> Any:
    return RemoveRaftVoterRequest(cluster_id=cluster_id, voter_id=node, voter_directory_id=uuid_of(directory_id))


def unregister_broker(node: int) -> Any:
    return UnregisterBrokerRequest(broker_id=node)


def describe_cluster() -> Any:
    """With fenced brokers (KIP-1073); kafka-python refuses to send it to a broker that does not know them."""
    return DescribeClusterRequest(
        include_cluster_authorized_operations=False, endpoint_type=BROKERS, include_fenced_brokers=True, min_version=2
    )


def registered(answer: Any) -> frozenset[int]:
    check(answer.error_code, answer.error_message)
    return frozenset(broker.broker_id for broker in answer.brokers)


def check_answer(answer: Any) -> None:
    """Raises KafkaError."""
    check(answer.error_code, answer.error_message)
