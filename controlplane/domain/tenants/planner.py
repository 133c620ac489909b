"""All tenants of one cell at once: what is recorded of them and what the cell is like in, what to record out. Pure.

First who uses which brokers (`shards`), then each tenant by itself (`outcome`). While a KafkaRebalance is under way
for a tenant, and after one has failed until somebody deletes it or changes the tenant, its shard is left alone.
Recording an outcome and planning again changes nothing, so a pass that is cut short anywhere is simply made again.
"""

from __future__ import annotations

from collections import defaultdict

from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.member import Member
from controlplane.domain.tenants.outcome import outcome
from controlplane.domain.tenants.shards import shards
from controlplane.domain.tenants.usage import Holdings, holdings
from controlplane.domain.tenants.values import CellView, Move, Outcome


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
