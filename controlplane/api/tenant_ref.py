"""How a topic or a user names its tenant, and where its status says which cell it was given for life."""

from __future__ import annotations

from pydantic import Field

from controlplane.api.base import ApiModel
from controlplane.api.kafka_cluster import MAX_CLUSTER_NAME
from controlplane.api.kafka_tenant import MAX_TENANT_NAME, NAMESPACE_PATTERN

CELL_PATH = ".status.cell"
"""`namespace/name`; a selectable field, so that a cell's objects are found in whatever namespace they are."""


class TenantCellRef(ApiModel):
    """One of the tenant's cells."""

    namespace: str = Field(min_length=1, max_length=63, pattern=NAMESPACE_PATTERN, description="Its namespace.")
    name: str = Field(min_length=1, max_length=MAX_CLUSTER_NAME, description="Its name.")


class TenantRef(ApiModel):
    """The tenant whose it is. It lists this namespace."""

    name: str = Field(min_length=1, max_length=MAX_TENANT_NAME, description="Name of the KafkaTenant.")
    cell: TenantCellRef | None = Field(
        None, description="Which of the tenant's cells it is for; may be absent where there is only one."
    )
