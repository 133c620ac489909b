"""The cell that an object of a tenant is given, for life; and what is said where an operator looks after some
namespaces only (KFLEET_WATCH_NAMESPACES), and not after both that of the object and that of the cell. Pure.

The operator of a cell's namespace looks after the cell's topics and users, in the namespaces that it watches. So that
somebody answers for those elsewhere too, it says so in each of them that it comes across and in their tenant, and who
gives an object a cell that is another operator's says that."""

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


def unwatched(namespace: str, cell: Cell) -> Check:
    """Said by the operator of the cell of an object that it does not look after."""
    return Check(
        "NamespaceNotWatched",
        ok=False,
        evidence=f"metadata.namespace: the operator of cell {cell} does not watch namespace {namespace!r}.",
        remedy="Add it to KFLEET_WATCH_NAMESPACES of that operator.",
    )


def elsewhere(namespace: str, cell: Cell) -> Check:
    """Said by who gives an object a cell that is another operator's."""
    return Check(
        "CellElsewhere",
        ok=False,
        evidence=f"status.cell: cell {cell} is another operator's; it has not said anything about this object yet.",
        remedy=f"If it stays so, that operator does not watch namespace {namespace!r}: condition NamespacesWatched of "
        "the KafkaTenant says whether it does.",
    )
