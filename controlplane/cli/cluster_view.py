"""How a cluster looks: in a list, as a document, and at length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.api.group import GROUP
from controlplane.api.operation import Operation
from controlplane.cli.render import Column, View, age, table
from controlplane.cli.sections import conditions_text, event_documents, events_text, indent
from controlplane.domain.health.summary import ClusterSummary, State, one_line
from controlplane.ports import Object


def cluster_view(now: float, *, namespaces: bool) -> View[ClusterSummary]:
    """A list of clusters; with a column for the namespace when there is more than one."""
    columns = (
        Column[ClusterSummary]("name", lambda row: row.metadata.name),
        Column[ClusterSummary]("state", lambda row: row.state.value),
        Column[ClusterSummary]("nodes", nodes_cell),
        Column[ClusterSummary]("version", version_cell),
        Column[ClusterSummary]("operation", lambda row: row.operation.id if row.operation else "-"),
        Column[ClusterSummary]("age", lambda row: age(row.metadata.creation_timestamp, now)),
        Column[ClusterSummary]("metadata", lambda row: row.status.metadata_version or "-", wide=True),
        Column[ClusterSummary]("bootstrap", lambda row: ",".join(row.status.bootstrap_servers) or "-", wide=True),
        Column[ClusterSummary]("why", lambda row: row.why or "-", wide=True),
    )
    namespace = (Column[ClusterSummary]("namespace", lambda row: row.metadata.namespace),) if namespaces else ()
    return View("Cluster", (*namespace, *columns), cluster_id, cluster_document)


def cluster_id(row: ClusterSummary) -> str:
    """As kubectl names an object with -o name."""
    return f"kafkacluster.{GROUP}/{row.metadata.name}"


def nodes_cell(row: ClusterSummary) -> str:
    return f"{row.nodes_ready}/{row.nodes_declared}"


def version_cell(row: ClusterSummary) -> str:
    """The declared version, with the running one in front while they differ."""
    running = row.status.version
    return f"{running}->{row.version}" if running and running != row.version else row.version or "-"


def cluster_document(row: ClusterSummary) -> dict[str, Any]:
    metadata, status = row.metadata, row.status
    return {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "generation": metadata.generation,
        "createdAt": metadata.creation_timestamp,
        "state": row.state.value,
        "healthy": row.healthy,
        "reason": row.reason,
        "why": row.why,
        "since": row.since,
        "version": row.version,
        "runningVersion": status.version,
        "metadataVersion": status.metadata_version,
        "clusterId": status.cluster_id,
        "nodes": {"declared": row.nodes_declared, "ready": row.nodes_ready},
        "bootstrapServers": list(status.bootstrap_servers),
        "operation": operation_document(row.operation),
    }


def operation_document(operation: Operation | None) -> dict[str, Any] | None:
    """What scripts want of an operation; the journal and the plan are `kfleet op show`'s."""
    if operation is None:
        return None
    step = operation.step
    return {
        "id": operation.id,
        "kind": operation.kind,
        "goal": operation.goal,
        "planHash": operation.plan_hash,
        "startedAt": operation.started_at,
        "step": {"id": step.id, "verb": step.verb, "target": step.target} if step else None,
        "message": operation.message,
        "approval": operation.approval or None,
        "outcome": operation.outcome,
        "endedAt": operation.ended_at,
    }


@dataclass(frozen=True, slots=True)
class Description:
    """`events` are the API server's, newest last; None when we may not read them."""

    cluster: ClusterSummary
    events: Sequence[Object] | None


def _description_document(row: Description) -> dict[str, Any]:
    status = row.cluster.status
    document = cluster_document(row.cluster)
    document["nodes"] |= {"items": [node.to_object() for node in status.nodes]}
    return document | {
        "conditions": [condition.to_object() for condition in status.conditions],
        "lastOperation": operation_document(status.last_operation),
        "events": event_documents(row.events),
    }


DESCRIPTION = View[Description]("ClusterDescription", (), lambda row: cluster_id(row.cluster), _description_document)


def description_text(row: Description, now: float) -> str:
    """Sections as `kubectl describe` has them, those that are empty left out."""
    cluster, status = row.cluster, row.cluster.status
    facts = [
        ("Name", cluster.metadata.name),
        ("Namespace", cluster.metadata.namespace),
        ("State", _state_line(cluster, now)),
        ("Version", _version_line(cluster)),
        ("Cluster id", status.cluster_id or "-"),
        ("Bootstrap", ", ".join(status.bootstrap_servers) or "-"),
        ("Created", f"{age(cluster.metadata.creation_timestamp, now)} ago"),
    ]
    parts = ["\n".join(f"{f'{name}:':<12}{value}" for name, value in facts)]
    if status.operation:
        parts.append(_operation_text("Operation", status.operation, now))
    if status.last_operation:
        parts.append(_operation_text("Last operation", status.last_operation, now))
    if status.nodes:
        rows = [
            (
                node.id,
                node.pool,
                "+".join(node.roles),
                node.rack or "-",
                node.version or "-",
                node.state,
                one_line(node.message or "-"),
            )
            for node in status.nodes
        ]
        parts.append("Nodes\n" + indent(table(("id", "pool", "roles", "rack", "version", "state", "message"), rows)))
    if status.conditions:
        parts.append("Conditions\n" + indent(conditions_text(status.conditions, now)))
    if row.events:
        parts.append("Events\n" + indent(events_text(row.events, now)))
    return "\n\n".join(parts)


def _state_line(cluster: ClusterSummary, now: float) -> str:
    since = f" for {age(cluster.since, now)}" if cluster.since else ""
    return f"{cluster.state.value}{since}" + (f": {cluster.why}" if cluster.state is not State.HEALTHY else "")


def _version_line(cluster: ClusterSummary) -> str:
    status = cluster.status
    running = f", {status.version} running" if status.version and status.version != cluster.version else ""
    metadata = f", metadata {status.metadata_version}" if status.metadata_version else ""
    return f"{cluster.version or '-'}{running}{metadata}"


def _operation_text(title: str, operation: Operation, now: float) -> str:
    step = operation.step
    ended = f"{operation.outcome} {age(operation.ended_at, now)} ago" if operation.outcome else "under way"
    lines = [f"{operation.id}: {operation.goal}", f"{ended}, began {age(operation.started_at, now)} ago"]
    if operation.message:
        lines.append(one_line(operation.message))
    if step and not operation.outcome:
        lines.append(f"step {step.id}: {step.verb} {step.target}".rstrip())
        lines += [f"waits for {check.name}: {one_line(check.evidence)}" for check in step.checks]
    return f"{title}\n" + indent("\n".join(lines))
