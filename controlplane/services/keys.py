"""The keys of the work queue."""

from __future__ import annotations

from controlplane.services.queue import Key


def cluster_key(namespace: str, name: str) -> Key:
    """One KafkaCluster."""
    return Key("KafkaCluster", namespace, name)


def tenants_key(namespace: str, cluster: str) -> Key:
    """All KafkaTenants of one KafkaCluster: they are placed together, so that no two take the same brokers."""
    return Key("KafkaTenants", namespace, cluster)


def rebalance_key(namespace: str, name: str) -> Key:
    """One KafkaRebalance."""
    return Key("KafkaRebalance", namespace, name)


def topics_key(namespace: str, cluster: str) -> Key:
    """All KafkaTopics of one KafkaCluster: they reconcile in bulk."""
    return Key("KafkaTopics", namespace, cluster)


def users_key(namespace: str, cluster: str) -> Key:
    """All KafkaUsers of one KafkaCluster: they reconcile in bulk."""
    return Key("KafkaUsers", namespace, cluster)


def shedding_key(namespace: str, cluster: str) -> Key:
    """Load shedding of one KafkaCluster."""
    return Key("LoadShedding", namespace, cluster)


HOMES = Key("Homes", "", "")
"""All KafkaTopics and KafkaUsers of tenants that have no cell yet."""
