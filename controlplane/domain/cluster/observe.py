"""From Kubernetes objects to NodeObservations. Pure: the objects come from the API server, nothing is asked here."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controlplane.api import conditions, names
from controlplane.api.quantity import parse_bytes
from controlplane.domain.observation import (
    Identity,
    NodeObservation,
    PodObservation,
    QuorumObservation,
    Role,
    Stay,
    VolumeObservation,
    VoterObservation,
)

KubeObject = Mapping[str, Any]

START_RESOLUTION_SECONDS = 1.0
"""Kubernetes cuts a container's start to whole seconds."""
BELIEVED_SECONDS = 60.0
"""A process that is older than this has fetched since, whatever the leader's clock says: the window is far shorter."""


def observe_nodes(
    pods: Iterable[KubeObject], claims: Iterable[KubeObject], stays: Mapping[str, Stay] | None = None
) -> tuple[NodeObservation, ...]:
    """Every Kafka node that a pod or a PVC stands for, by id.

    Objects without a readable node id are not ours to judge and are left out. Roles come from the PVC's labels, so that
    they are known while no pod exists. `stays` are by the name of the pod.
    """
    volumes: dict[int, list[KubeObject]] = defaultdict(list)
    for claim in claims:
        if (node_id := _node_id(claim)) is not None:
            volumes[node_id].append(claim)
    running = {node_id: pod for pod in pods if (node_id := _node_id(pod)) is not None}
    nodes = []
    for node_id in sorted(volumes.keys() | running.keys()):
        objects = [*volumes[node_id], *([running[node_id]] if node_id in running else [])]
        labels = objects[0]["metadata"].get("labels", {})
        nodes.append(
            NodeObservation(
                id=node_id,
                pool=labels.get(names.POOL, ""),
                roles=frozenset(
                    role
                    for role, label in ((Role.CONTROLLER, names.ROLE_CONTROLLER), (Role.BROKER, names.ROLE_BROKER))
                    if labels.get(label) == "true"
                ),
                pod=_pod(running[node_id]) if node_id in running else None,
                volumes=tuple(sorted(map(_volume, volumes[node_id]), key=lambda v: v.volume_id)),
                stay=(stays or {}).get(running[node_id]["metadata"]["name"]) if node_id in running else None,
            )
        )
    return tuple(nodes)


def _node_id(obj: KubeObject) -> int | None:
    text = obj["metadata"].get("labels", {}).get(names.NODE_ID, "")
    return int(text) if text.isdecimal() else None


def _pod(obj: KubeObject) -> PodObservation:
    meta, status = obj["metadata"], obj.get("status", {})
    annotations = meta.get("annotations", {})
    containers = status.get("containerStatuses") or []
    inits = status.get("initContainerStatuses") or []
    waiting: Mapping[str, Any] = next(
        (state for container in [*inits, *containers] if (state := container.get("state", {}).get("waiting"))), {}
    )
    failed = next((text for container in [*inits, *containers] if (text := _failure(container))), None)
    return PodObservation(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        spec_hash=annotations.get(names.SPEC_HASH, ""),
        version=annotations.get(names.KAFKA_VERSION, ""),
        ip=status.get("podIP"),
        rack=annotations.get(names.RACK) or None,
        scheduled=bool(obj.get("spec", {}).get("nodeName")),
        ready=_is_true(status, "Ready"),
        terminating="deletionTimestamp" in meta,
        ended="deletionTimestamp" not in meta and status.get("phase") in {"Failed", "Succeeded"},
        restarts=sum(container.get("restartCount", 0) for container in [*inits, *containers]),
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message") or failed or _unscheduled(status),
        format_message=next((text for container in inits if (text := _last_words(container))), None),
        machine=obj.get("spec", {}).get("nodeName") or None,
        certificates=annotations.get(names.CERTIFICATES, ""),
        started_at=_started_at(containers),
    )


def _started_at(containers: Iterable[KubeObject]) -> float | None:
    running = (one.get("state", {}).get("running") or {} for one in containers if one.get("name") == "kafka")
    text = next((state["startedAt"] for state in running if state.get("startedAt")), None)
    return conditions.seconds(text) if text else None


def of_running_processes(quorum: QuorumObservation, nodes: Iterable[NodeObservation]) -> QuorumObservation:
    """`quorum` without the fetches of processes that have ended since.

    The leader goes by what it heard last of a voter, for as long as the window is: one that was restarted in less time
    looks as if it had never been away. It counts again from its first fetch after its start. Clocks that differ delay
    that, by `BELIEVED_SECONDS` at most where it is the leader's clock that is slow.
    """
    starts = {node.id: node.pod.started_at for node in nodes if node.pod}
    return replace(quorum, voters=tuple(_of_its_process(one, starts.get(one.id), quorum) for one in quorum.voters))


def _of_its_process(voter: VoterObservation, started: float | None, quorum: QuorumObservation) -> VoterObservation:
    if started is None or voter.caught_up_at is None or voter.id == quorum.leader:
        return voter
    fetched = voter.caught_up_at >= started + START_RESOLUTION_SECONDS
    if fetched or quorum.as_of - started >= BELIEVED_SECONDS:
        return voter
    return replace(voter, caught_up=False)


def _is_true(status: KubeObject, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or [])


def _unscheduled(status: KubeObject) -> str | None:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return None


def _last_words(container: KubeObject) -> str | None:
    """What the container wrote to its termination log when it ended last."""
    for state in (container.get("state", {}), container.get("lastState", {})):
        if message := state.get("terminated", {}).get("message"):
            return str(message)
    return None


def _failure(container: KubeObject) -> str | None:
    for state in (container.get("state", {}), container.get("lastState", {})):
        ended = state.get("terminated")
        if ended and ended.get("exitCode"):
            return f"container {container['name']} exited with {ended['exitCode']}" + (
                f": {ended['message'].strip()}" if ended.get("message") else ""
            )
    return None


_RESIZING = ("ControllerResizeError", "NodeResizeError", "FileSystemResizePending", "Resizing")
"""Conditions of a claim that is being expanded, the most telling first."""


def _resizing(status: KubeObject) -> str:
    told = {c.get("type"): c for c in status.get("conditions") or [] if c.get("status") == "True"}
    found = next((told[kind] for kind in _RESIZING if kind in told), None)
    return " ".join(f"{found['type']}: {found.get('message', '')}".split()).rstrip(": ") if found else ""


def _volume(obj: KubeObject) -> VolumeObservation:
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    annotations = meta.get("annotations", {})
    capacity = status.get("capacity", {}).get("storage")
    return VolumeObservation(
        name=meta["name"],
        volume_id=int(meta.get("labels", {}).get(names.VOLUME_ID, "0")),
        size_bytes=parse_bytes(spec.get("resources", {}).get("requests", {}).get("storage", "0")),
        storage_class=spec.get("storageClassName"),
        bound=status.get("phase") == "Bound",
        identity=parse_identity(annotations.get(names.IDENTITY)),
        formatted=annotations.get(names.FORMATTED) or None,
        uid=meta.get("uid", ""),
        terminating="deletionTimestamp" in meta,
        capacity_bytes=parse_bytes(capacity) if capacity else None,
        resizing=_resizing(status),
    )


def parse_identity(text: str | None) -> Identity | None:
    """None for a missing mark and for one that is not ours: both block, neither is overwritten."""
    try:
        mark = json.loads(text or "")
        return Identity(
            cluster_id=str(mark["clusterId"]), node_id=int(mark["nodeId"]), directory_id=mark.get("directoryId")
        )
    except (ValueError, KeyError, TypeError):
        return None


def identity_mark(identity: Identity) -> str:
    """The annotation's text; `parse_identity(identity_mark(x)) == x`."""
    mark: dict[str, Any] = {"clusterId": identity.cluster_id, "nodeId": identity.node_id}
    if identity.directory_id is not None:
        mark["directoryId"] = identity.directory_id
    return json.dumps(mark, sort_keys=True)


def capacities(nodes: Iterable[NodeObservation]) -> dict[int, int]:
    """Bytes that a node's volumes have, by node; of those that have volumes, and all of them bound."""
    found = {}
    for node in nodes:
        known = [volume.capacity_bytes for volume in node.volumes if volume.capacity_bytes is not None]
        if known and len(known) == len(node.volumes):
            found[node.id] = sum(known)
    return found
