"""The operator's settings as far as a cluster's own pods show them: for planning in its place."""

from __future__ import annotations

from controlplane.api import names
from controlplane.domain.cluster.placed import placement_seen
from controlplane.ports import KubeApi
from controlplane.services.cluster.observe import PODS
from controlplane.settings import OperatorSettings


async def settings_seen(kube: KubeApi, namespace: str, name: str) -> OperatorSettings:
    """KFLEET_* of this process, with what the pods show of the operator's in their place. Raises KubeError.

    It needs no rights in the operator's namespace. A change of the operator's settings since the youngest pod was made
    is not seen; a cluster without pods shows nothing, and then the environment has to be the operator's.
    """
    settings = OperatorSettings()
    ours = f"{names.CLUSTER}={name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
    placement = placement_seen(await kube.list(PODS, namespace, labels=ours))
    if placement is None:
        return settings
    return settings.model_copy(
        update={
            "image_prefix": placement.image_prefix,
            "addressing": placement.addressing,
            "stop_grace": placement.stop_grace_seconds,
            "probe_period": placement.probe_period_seconds,
        }
    )
