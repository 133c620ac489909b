"""A fleet as an API server would show it: one cluster in every state that `kfleet status` knows. Times are fixed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

CREATED = "2026-01-02T03:04:05Z"
SINCE = "2026-01-02T04:00:00Z"
HASH = "sha256:" + "ab" * 32
OPERATION = "roll-2-abc"


def condition(kind: str, *, status: bool, reason: str, message: str = "", generation: int = 2) -> Object:
    return {
        "type": kind,
        "status": str(status),
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": SINCE,
    }


def node(number: int, *, ready: bool = True, state: str = "Running", message: str | None = None) -> Object:
    found = {
        "id": number,
        "pool": "nodes",
        "roles": ["Controller", "Broker"],
        "rack": "abc"[number],
        "version": "4.2.0",
        "ready": ready,
        "state": state,
    }
    return found | ({"message": message} if message else {})


def operation(verb: str = "Stopping", target: str = "1", **more: Any) -> Object:
    return {
        "id": OPERATION,
        "kind": "Roll",
        "mode": "Replanned",
        "planHash": HASH,
        "goal": "Version 4.2.0 to 4.3.1",
        "startedAt": SINCE,
        "step": {"id": 3, "verb": verb, "target": target, "why": "VersionChanged", "risk": "Disruptive"},
        "message": "restarting node 1",
        "journal": [{"step": 2, "verb": "Stopping", "target": "0", "outcome": "Done", "at": SINCE}],
    } | more


def cluster(name: str, *, namespace: str = "kafka", version: str = "4.2.0", **status: Any) -> Object:
    """Healthy, but for what `status` says; `conditions` replaces the conditions of the same type."""
    wanted = status.pop("conditions", [])
    metadata = status.pop("metadata", {})
    conditions = {
        entry["type"]: entry
        for entry in (
            condition("Ready", status=True, reason="AsDeclared"),
            condition("Available", status=True, reason="Serving"),
            condition("Blocked", status=False, reason="NotBlocked"),
            *wanted,
        )
    }
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaCluster",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": 2,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        }
        | metadata,
        "spec": {
            "provider": {"type": "Pods"},
            "version": version,
            "nodePools": [
                {
                    "name": "nodes",
                    "roles": ["Controller", "Broker"],
                    "replicas": 3,
                    "zones": ["a", "b", "c"],
                    "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
                }
            ],
            "listeners": [{"name": "clients", "port": 9092}],
        },
        "status": {
            "conditions": list(conditions.values()),
            "observedGeneration": 2,
            "clusterId": "MkU3OEVBNTcwNTJENDM2Qk",
            "version": "4.2.0",
            "metadataVersion": "4.2-IV1",
            "bootstrapServers": ["10.0.0.1:9092"],
            "nodes": [node(0), node(1), node(2)],
        }
        | status,
    }


def rolling(name: str = "orders") -> Object:
    """Node 1 is down because the roll has stopped it."""
    return cluster(
        name,
        version="4.3.1",
        operation=operation(replicasOutBefore=[{"node": 1, "topic": "", "partitions": []}]),
        nodes=[node(0), node(1, ready=False, state="Stopping"), node(2)],
        conditions=[condition("Ready", status=False, reason="RollInProgress", message="restarting node 1")],
    )


def awaiting(name: str = "ledger") -> Object:
    waits = {
        "name": "AwaitingApproval",
        "evidence": f"Nobody has approved plan {HASH}.",
        "remedy": f"kfleet approve {OPERATION}",
    }
    step = {"id": 1, "verb": "Blocked", "checks": [waits]}
    message = f"{waits['evidence']} {waits['remedy']}"
    found = cluster(
        name,
        version="4.3.1",
        operation=operation(step=step, message=f"blocked: {message}", journal=[]),
        conditions=[
            condition("Ready", status=False, reason="AwaitingApproval", message=message),
            condition("Blocked", status=True, reason="AwaitingApproval", message=message),
        ],
    )
    found["spec"]["rollout"] = {"approval": "Required"}
    found["metadata"]["annotations"] = {"kfleet.dev/requested-by": "grace", "kfleet.dev/paused": "true"}
    return found


def fleet() -> list[Object]:
    """One of each, in no order."""
    crash = "container kafka exited with 1: no space left on device"
    unprotected = "2 partitions allow no broker to stop (a-0, a-1). Raise their replication factor."
    ready_no = condition("Ready", status=False, reason="UnderMinIsr", message="3 partitions are below min ISR")
    return [
        cluster("calm"),
        rolling(),
        cluster("full", nodes=[node(0), node(1, ready=False, state="CrashLoopBackOff", message=crash), node(2)]),
        cluster(
            "dark",
            conditions=[
                ready_no,
                condition("Available", status=False, reason="UnderMinIsr", message="3 partitions are below min ISR"),
            ],
        ),
        cluster(
            "stuck", conditions=[condition("Blocked", status=True, reason="UnprotectedPartitions", message=unprotected)]
        ),
        awaiting() | {"metadata": awaiting()["metadata"] | {"namespace": "finance"}},
        cluster(
            "held", conditions=[condition("Blocked", status=True, reason="Paused", message="The object is paused.")]
        ),
        cluster(
            "new",
            conditions=[condition("Ready", status=False, reason="NodesStarting", message="1 of 3 nodes.")],
            bootstrapServers=[],
        ),
        cluster("odd", metadata={"generation": 3}),
        {key: value for key, value in cluster("mute").items() if key != "status"},
        cluster("torn", metadata={"deletionTimestamp": SINCE}),
    ]


def lease(*, holder: str = "kfleet-operator-1", renewed: datetime | None = None) -> Object:
    """The operator's own, renewed just now unless it is said when."""
    when = renewed or datetime.now(UTC)
    return {
        "metadata": {"name": "kfleet-operator", "namespace": "kfleet"},
        "spec": {"holderIdentity": holder, "renewTime": when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
    }


def event(reason: str, message: str, at: str = SINCE) -> Object:
    return {
        "metadata": {"name": f"orders.{reason}", "namespace": "kafka"},
        "type": "Normal",
        "reason": reason,
        "message": message,
        "count": 1,
        "lastTimestamp": at,
        "involvedObject": {"uid": "uid-orders"},
    }


def user(name: str = "app", *, namespace: str = "kafka") -> Object:
    """A user as declared, with something foreign beside it."""
    rule = {"resource": {"type": "topic", "name": "orders", "patternType": "literal"}, "operations": ["Read"]}
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaUser",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": 2,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        },
        "spec": {
            "clusterRef": {"name": "orders"},
            "authentication": {"type": "scram-sha-512", "rotateAfter": "720h"},
            "authorization": {"acls": [rule | {"host": "*", "type": "allow"}]},
            "quotas": {"producerByteRate": "1Mi"},
        },
        "status": {
            "conditions": [
                condition("Ready", status=True, reason="AsDeclared"),
                condition("CredentialsCurrent", status=True, reason="Current"),
            ],
            "observedGeneration": 2,
            "principal": f"User:{name}",
            "binding": {"name": name},
            "credential": {"issuedAt": SINCE, "rotateAt": "2026-02-01T04:00:00Z", "rotation": "1"},
            "acls": ["allow topic literal orders * Read"],
            "quotas": {"producer_byte_rate": "1048576"},
            "quotaLayers": [
                {
                    "name": "declared",
                    "values": {"producer_byte_rate": "1048576"},
                    "binds": ["producer_byte_rate"],
                }
            ],
            "foreign": {"acls": 2, "shown": ["allow Read on topic theirs"], "quotas": ["request_percentage"]},
            "drift": {"corrected": 1, "last": SINCE},
        },
    }


def tenant(name: str = "checkout", shard: tuple[int, ...] = (0, 1, 2), **cell: Any) -> Object:
    """A tenant of cluster orders; `cell` is what its status says of it beside the shard."""
    where = {"kind": "KafkaCluster", "namespace": "kafka", "name": "orders"}
    usage = {"topics": 12, "partitions": 96, "storage": 3 * 1024**3}
    on = f"brokers {', '.join(map(str, shard))}."
    record = {"shard": list(shard), "overlap": 1, "gap": 0, "brokers": "0-2", "usage": usage, "placed": True}
    record |= {"reason": "Placed", "message": f"It is on {on}"}
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTenant",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "generation": 2,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        },
        "spec": {
            "owner": {"team": name, "contact": f"{name}-oncall"},
            "namespaces": [name],
            "topicPrefix": f"{name}.",
            "priority": "Standard",
            "cells": [where],
            "shard": {"size": len(shard), "maxOverlap": 1, "replacementDelay": "30m"},
            "quotas": {"produceBytesPerSecond": "50Mi", "requestPercentage": 50},
            "limits": {"topics": 200, "storage": "2Ti"},
        },
        "status": {
            "conditions": [
                condition("Ready", status=True, reason="Placed", message=f"kafka/orders: It is on {on}"),
                condition("Placed", status=True, reason="Placed", message=f"kafka/orders: It is on {on}"),
                condition("WithinLimits", status=True, reason="WithinLimits"),
            ],
            "observedGeneration": 2,
            "cells": [where | record | cell],
            "usage": usage,
        },
    }


def objects(clusters: list[Object] | None = None) -> dict[str, list[Object]]:
    """All that commands ask for, for `canned_api`."""
    return {
        "KafkaCluster": clusters if clusters is not None else fleet(),
        "KafkaTenant": [tenant()],
        "KafkaUser": [user(), user("payments", namespace="finance")],
        "Lease": [lease()],
        "Event": [event("RollStarted", "Version 4.2.0 to 4.3.1")],
        **{
            kind: []
            for kind in (
                "Approval",
                "Pod",
                "PersistentVolumeClaim",
                "Service",
                "ConfigMap",
                "PodDisruptionBudget",
                "Deployment",
            )
        },
    }
