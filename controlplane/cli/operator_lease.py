"""Is an operator at work? Asked of its Lease, whose place the operator's own settings name."""

from __future__ import annotations

from datetime import datetime

from controlplane.domain.health.checks import OperatorSeen
from controlplane.ports import ForbiddenError, KubeApi, NotFoundError
from controlplane.services.lease import LEASES
from controlplane.settings import OperatorSettings


async def operator_seen(kube: KubeApi, settings: OperatorSettings, now: float) -> OperatorSeen | None:
    """None when we may not look: then nothing is said about the operator. Raises KubeError."""
    where = f"{settings.namespace}/{settings.lease_name}"
    try:
        lease = await kube.get(LEASES, settings.lease_name, settings.namespace)
    except NotFoundError:
        return OperatorSeen(where, "", 0.0)
    except ForbiddenError:
        return None
    spec = lease.get("spec") or {}
    renewed = spec.get("renewTime")
    ago = now - datetime.fromisoformat(renewed).timestamp() if renewed else float("inf")
    return OperatorSeen(where, spec.get("holderIdentity") or "", max(ago, 0.0))
