"""How kfleet makes a KafkaRebalance by itself."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.api import kafka_rebalance as api
from controlplane.api import names
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.rollout import ApprovalPolicy
from controlplane.ports import Object, Resource
from controlplane.settings import OperatorSettings

REBALANCES = Resource(GROUP, VERSION, api.PLURAL, api.KIND)


def operator_user(settings: OperatorSettings) -> str:
    """Who the operator is to the API server."""
    return f"system:serviceaccount:{settings.namespace}:{names.OPERATOR}"


def rebalance(
    cluster: KafkaCluster,
    name: str,
    goal: api.RebalanceGoal,
    *,
    user: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """It waits for an approval exactly where the cluster's own changes do. `user` is who creates it."""
    required = cluster.spec.rollout.approval is ApprovalPolicy.REQUIRED
    spec = api.KafkaRebalanceSpec(
        cluster_ref=api.RebalancedCluster(name=cluster.metadata.name),
        goal=goal,
        approval=ApprovalPolicy.REQUIRED if required else ApprovalPolicy.NOT_REQUIRED,
    )
    body = api.KafkaRebalance.model_validate({"metadata": {"name": name}, "spec": spec.to_object()}).to_object()
    body["metadata"] = {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": {names.CLUSTER: cluster.metadata.name, **labels},
        "annotations": dict(annotations or {}) | ({names.REQUESTED_BY: user} if required else {}),
    }
    del body["status"]
    return body
