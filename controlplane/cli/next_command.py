"""What to type next, by the state that a cluster is in."""

from __future__ import annotations

from controlplane.domain.health.summary import ClusterSummary, State


def next_command(row: ClusterSummary) -> str:
    """One command line; empty when there is nothing to do."""
    name, place = row.metadata.name, f"-n {row.metadata.namespace}"
    operation = row.operation.id if row.operation else ""
    match row.state:
        case State.AWAITING_APPROVAL:
            return f"kfleet approve {operation or name} {place}"
        case State.BLOCKED | State.OUTSIDE_WINDOW | State.ROLLED_BACK:
            return f"kfleet explain {row.reason}"
        case State.PAUSED | State.CANCELLED:
            return f"kfleet op resume {operation or name} {place}"
        case State.ROLLING if operation:
            return f"kfleet op watch {operation} {place}"
        case State.FORMING | State.APPLYING:
            return f"kfleet cluster health {name} {place} --watch"
        case State.HEALTHY | State.DELETING:
            return ""
        case _:
            return f"kfleet cluster health {name} {place}"
