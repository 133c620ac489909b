"""What a fresh assignment would do for the tenants of a cell: an offer for each rule that they have. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.domain.placement.changes import Repack, repack
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import Fleet, ShardRule, ShardSearch
from controlplane.domain.tenants.directory import Cell, Directory


@dataclass(frozen=True)
class Offer:
    rule: ShardRule
    tenants: int
    repack: Repack


def offers(directory: Directory, cell: Cell, fleet: Fleet, search: ShardSearch | None = None) -> tuple[Offer, ...]:
    """Tenants that have a shard there, by size and overlap allowed; those whose rule means nothing are left out, and
    so are those whose shard has another size yet. Raises DoesNotFitError."""
    held = []
    for tenant in directory.in_cell(cell):
        shard, spec = directory.shard(tenant, cell), tenant.spec.shard
        if shard is not None and len(shard.target) == spec.size and spec.max_overlap < spec.size:
            held.append(Held(tenant.metadata.name, shard.target, ShardRule(spec.size, spec.max_overlap)))
    occupancy = Occupancy(fleet, held)
    rules = sorted({one.rule for one in held}, key=lambda rule: (rule.size, rule.max_overlap))
    return tuple(
        Offer(rule, sum(one.rule == rule for one in held), repack(occupancy, rule, search=search)) for rule in rules
    )
