"""What an installation decides about pods, read back from pods it has made.

Whoever plans for an operator from outside (`kfleet cluster plan`, `--local`) must decide as it does: with other
settings every pod would look out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.domain.cluster.manifests import Placement

IMAGE = "kafka:"


def placement_seen(pods: Iterable[Mapping[str, Any]]) -> Placement | None:
    """As the youngest of a cluster's pods shows it; None when there is no pod of ours."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        spec = pod["spec"]
        kafka = next((one for one in spec["containers"] if one["name"] == "kafka"), None)
        if kafka is None or IMAGE not in kafka["image"]:
            continue
        return Placement(
            image_prefix=kafka["image"].rpartition(IMAGE)[0],
            addressing="DNS" if spec.get("subdomain") else "PodIP",
            stop_grace_seconds=spec["terminationGracePeriodSeconds"],
            probe_period_seconds=kafka["readinessProbe"]["periodSeconds"],
        )
    return None
