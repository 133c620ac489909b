"""All tenants of one cell at once: what is recorded of them and what the cell is like in, what to record out. Pure.

First who uses which brokers (`shards`), then each tenant by itself (`outcome`). While a KafkaRebalance is under way
for a tenant, and after one has failed until somebody deletes it or changes the tenant, its shard is left alone.
Recording an outcome and planning again changes nothing, so a pass that is cut short anywhere is simply made again.
"""

from __future__ import annotations

from collections import defaultdict

from controlplane.domain.tenants.directory import Directory, cell_status
from controlplane.domain.tenants.member import Member
from controlplane.domain.tenants.outcome import outcome
from controlplane.domain.tenants.ranges import write_ranges
from controlplane.domain.tenants.shards import shards
from controlplane.domain.tenants.usage import Holdings, holdings
from controlplane.domain.tenants.values import CellView, Move, Outcome

QUICK_TENANTS, QUICK_CHANGES, QUICK_PARTITIONS = 300, 10, 5_000
"""Up to so many of each a cell is planned within 50 ms of one core: a tenant that stays where it is takes 0.1 ms, one
that is placed among 300 others 2 ms, a partition 4 us."""


def is_quick(directory: Directory, view: CellView) -> bool:
    """Whether `plan_cell` keeps nobody waiting who waits for the same core."""
    tenants, brokers = directory.in_cell(view.cell), write_ranges(view.fleet.by_id)
    if len(tenants) > QUICK_TENANTS or len(view.partitions) > QUICK_PARTITIONS:
        return False
    records = (cell_status(tenant, view.cell) for tenant in tenants)
    return sum(one is None or not one.shard or one.brokers != brokers for one in records) <= QUICK_CHANGES


def plan_cell(directory: Directory, view: CellView, now: float) -> dict[str, Outcome]:
    """By tenant: of those that name the cell, and those that have a record of it. `now`: seconds since the epoch."""
    held = holdings(directory, view.partitions, view.sizes)
    moves: dict[str, list[Move]] = defaultdict(list)
    for move in view.moves.values():
        moves[move.tenant].append(move)
    members = [
        Member.of(directory, tenant, view, held.get(name, Holdings()), moves=tuple(moves[name]), now=now)
        for name, tenant in ((one.metadata.name, one) for one in directory.in_cell(view.cell))
    ]
    occupancy = shards(members, view, now)
    least: dict[int, int] = {}
    return {member.name: outcome(member, occupancy, view, least, now) for member in members}
