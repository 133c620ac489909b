"""How a simulation looks."""

from __future__ import annotations

import textwrap

from controlplane.api.group import GROUP
from controlplane.cli.options import Output
from controlplane.cli.placement_simulate import Simulation, document_of
from controlplane.cli.render import View, show_one, table
from controlplane.domain.placement.blast import Blast

SHOWN = 40
"""Tenants in the table; -o wide has all of them."""


def show_simulation(output: Output, simulation: Simulation) -> None:
    show_one(output, VIEW, simulation, text=lambda: simulation_text(simulation, whole=output is Output.wide))


def _names(simulation: Simulation) -> str:
    return "\n".join(f"kafkatenant.{GROUP}/{tenant}" for tenant in simulation.shards)


VIEW = View[Simulation]("PlacementSimulation", (), _names, document_of)


def simulation_text(simulation: Simulation, *, whole: bool) -> str:
    """For people: the sums first, then shards, loads, and what a bad tenant takes along."""
    parts = ["\n".join(_summary(simulation)), _block("shared by two tenants", _histogram(simulation))]
    if simulation.measured or simulation.random:
        parts.append(_block(f"{simulation.bad} misbehaving, for one that behaves", _blast_table(simulation)))
    if simulation.changes:
        rows = [[change.tenant, change.leaves, change.joins] for change in simulation.changes]
        parts.append(_block("moved", table(["TENANT", "LEAVES", "JOINS"], rows)))
    if simulation.repack is not None:
        parts.append(_block("repack", _repack(simulation)))
    shown = list(simulation.shards.items())[: None if whole else SHOWN]
    rows = [[tenant, ",".join(map(str, shard)), _zones(simulation, shard)] for tenant, shard in shown]
    parts.append(_block("shards", table(["TENANT", "BROKERS", "ZONES"], rows)))
    left = len(simulation.shards) - len(shown)
    return "\n\n".join(parts) + (f"\n  and {left} more: -o wide shows all" if left else "")


def _summary(simulation: Simulation) -> list[str]:
    load = simulation.load
    gap = simulation.bound - simulation.capacity
    proven = "the most there can be" if not gap else f"at most {simulation.bound} by proof, a gap of {gap}"
    rule = simulation.rule
    worst = f"{simulation.worst} at most"
    if simulation.worst > simulation.overlap_bound:
        worst += f" (below {simulation.overlap_bound} is proven impossible)"
    lines = [
        f"tenants     {len(simulation.shards)} on {len(simulation.fleet.brokers)} brokers in {_zone_count(simulation)}",
        f"room        {simulation.capacity} shards of {rule.size} that share at most {rule.max_overlap}: {proven}",
        f"from        {simulation.construction}",
        f"overlap     {worst}, {simulation.mean:.3f} on average",
        f"load        {min(load.values())} to {max(load.values())} tenants a broker",
    ]
    if gap and not simulation.solver:
        lines.append("search      not made: kfleet[solver] is not installed")
    return lines


def _zone_count(simulation: Simulation) -> str:
    zones = len(simulation.fleet.zones)
    return f"{zones} zones" if zones > 1 else "one zone"


def _histogram(simulation: Simulation) -> str:
    pairs = sum(simulation.histogram.values())
    rows = []
    for shared in range(max(simulation.rule.size, simulation.worst) + 1):
        count, chances = simulation.histogram.get(shared, 0), simulation.chances
        chance = "-" if chances is None or shared >= len(chances) else f"{chances[shared]:.6f}"
        rows.append([shared, count, f"{count / pairs:.6f}" if pairs else "-", chance])
    return table(["BROKERS", "PAIRS", "SHARE", "AT RANDOM"], rows)


def _blast_table(simulation: Simulation) -> str:
    def cells(blast: Blast | None) -> list[str]:
        return ["-", "-"] if blast is None else [f"{blast.touched:.6f}", f"{blast.covered:.6f}"]

    rows = [["these shards", *cells(simulation.measured)], ["random shards", *cells(simulation.random)]]
    text = table(["", "SOME BROKERS HIT", "ALL HIT"], rows)
    if simulation.survives is None:
        return f"{text}\nno two tenants share a broker: nobody is hit by others"
    return f"{text}\nany {simulation.survives} misbehaving leave every other tenant a broker"


def _repack(simulation: Simulation) -> str:
    offer = simulation.repack
    if offer is None:
        return ""
    then = max(offer.overlaps_then, default=0)
    verdict = "better than now" if offer.better else "no better than now"
    rows = [[tenant, ",".join(map(str, before)), ",".join(map(str, after))] for tenant, before, after in offer.moves]
    moving = f"{len(offer.moves)} tenants and {offer.brokers_moved} brokers move"
    head = f"a fresh assignment shares {then} at most, {verdict}: {moving}"
    return "\n".join([head, table(["TENANT", "NOW", "THEN"], rows)]) if rows else head


def _zones(simulation: Simulation, shard: tuple[int, ...]) -> str:
    return ",".join(simulation.fleet.by_id[broker].zone or "-" for broker in shard)


def _block(title: str, text: str) -> str:
    return f"{title}\n{textwrap.indent(text, '  ')}"
