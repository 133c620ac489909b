"""Names of what a cluster consists of in Kubernetes. Pure functions of the cluster's, pool's and node's names."""

from __future__ import annotations

NAME_LIMIT = 63
"""A pod's name is a label value and a host name as well."""


def pod(cluster: str, pool: str, node_id: int) -> str:
    return f"{cluster}-{pool}-{node_id}"


def pod_host(cluster: str, namespace: str, pool: str, node_id: int) -> str:
    """The name that a pod has in DNS."""
    return f"{pod(cluster, pool, node_id)}.{headless(cluster)}.{namespace}.svc"


def volume(cluster: str, pool: str, node_id: int, volume_id: int) -> str:
    return f"data-{volume_id}-{pod(cluster, pool, node_id)}"


def config(cluster: str, pool: str, node_id: int) -> str:
    return f"{pod(cluster, pool, node_id)}-config"


def peers(cluster: str) -> str:
    """The ConfigMap that tells every node where the controllers are."""
    return f"{cluster}-peers"


def headless(cluster: str) -> str:
    return f"{cluster}-nodes"


def listener_service(cluster: str, listener: str) -> str:
    return f"{cluster}-{listener}"


def broker_service(cluster: str, listener: str, node_id: int) -> str:
    """Of a listener for clients outside; a listener's name has no '-', so that no other Service has this name."""
    return f"{listener_service(cluster, listener)}-{node_id}"


def advertised(cluster: str, pool: str, node_id: int) -> str:
    """The ConfigMap with what a broker tells clients outside of its addresses."""
    return f"{pod(cluster, pool, node_id)}-advertised"


def disruption_budget(cluster: str) -> str:
    return f"{cluster}-nodes"


def cluster_ca(cluster: str) -> str:
    """The Secret whose ca.crt signs the nodes' and the operator's certificates; what clients trust."""
    return f"{cluster}-cluster-ca"


def clients_ca(cluster: str) -> str:
    """The Secret whose ca.crt signs users' certificates."""
    return f"{cluster}-clients-ca"


def authority_key(authority: str) -> str:
    """The Secret with the private key of an authority, for the operator alone."""
    return f"{authority}-key"


def node_tls(cluster: str, pool: str, node_id: int) -> str:
    """The Secret with a node's certificate and what it trusts."""
    return f"{pod(cluster, pool, node_id)}-tls"


def operator_tls(cluster: str) -> str:
    """The Secret with the operator's own certificate for this cluster."""
    return f"{cluster}-operator-tls"


def departed_users(cluster: str) -> str:
    """The ConfigMap that remembers users who were deleted and may still have a session or a certificate."""
    return f"{cluster}-departed-users"
