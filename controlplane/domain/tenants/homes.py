"""The cell that an object of a tenant is given, for life. Pure."""

from __future__ import annotations

from controlplane.api.tenant_ref import TenantRef
from controlplane.domain.check import Check
from controlplane.domain.tenants.directory import Cell, Directory


def home(directory: Directory, ref: TenantRef, namespace: str) -> Cell | Check:
    """`namespace` is the object's."""
    tenant = directory.resolve(ref.name, namespace)
    if isinstance(tenant, Check):
        return tenant
    cells = [Cell(one.namespace, one.name) for one in tenant.spec.cells]
    if ref.cell is None:
        if len(cells) == 1:
            return cells[0]
        why = f"has {len(cells)} cells"
    else:
        wanted = Cell(ref.cell.namespace, ref.cell.name)
        if wanted in cells:
            return wanted
        why = f"has no cell {wanted}"
    return Check(
        "CellNotNamed",
        ok=False,
        evidence=f"spec.tenantRef.cell: KafkaTenant {ref.name!r} {why}.",
        remedy=f"Say in a new object which of them it is for: {', '.join(map(str, cells))}.",
    )
