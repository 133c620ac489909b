"""What a broker that leaves or joins changes, and what a fresh start would: at most one broker of any shard (a zone
that is new takes its whole part), or an offered plan.

Replacing is asked for by the caller, and only once a broker is to stay away: a broker that crashes is not replaced
before the tenant's `replacementDelay`, or a tenant whose requests kill brokers would be led from one to the next
(Grafana Mimir's "query of death").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.placement.fresh import Assignment, assign
from controlplane.domain.placement.measure import mean_overlap, overlap_histogram
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import (
    BadInputError,
    Broker,
    DoesNotFitError,
    Fleet,
    Shard,
    ShardRule,
    ShardSearch,
    ZoneShape,
    shape,
)


@dataclass(frozen=True, slots=True)
class Change:
    """One broker of a tenant's shard becomes another. `within` says whether the tenant's rules are kept afterwards."""

    tenant: str
    before: Shard
    after: Shard
    within: bool

    @property
    def leaves(self) -> int:
        return next(broker for broker in self.before if broker not in self.after)

    @property
    def joins(self) -> int:
        return next(broker for broker in self.after if broker not in self.before)


def leave(occupancy: Occupancy, broker: int, *, only: Collection[str] | None = None) -> list[Change]:
    """The broker goes: each shard that has it takes one other instead, of the same zone where the zone has one. With
    `only`, shards of these tenants: others keep it for now.

    Raises DoesNotFitError, before anything is changed, when a shard could not be filled up again.
    """
    fleet = _without(occupancy.fleet, broker)
    tasks = []
    for tenant in occupancy.tenants_of(broker):
        if only is not None and tenant not in only:
            continue
        held = occupancy.held[tenant]
        rest = tuple(other for other in held.shard if other != broker)
        tasks.append((held, rest, _replacements(occupancy.fleet, fleet, held, rest, broker)))
    occupancy.change_fleet(fleet)
    found = []
    for held, rest, candidates in tasks:
        occupancy.remove(held.tenant)
        found.append(_take(occupancy, held, rest, candidates))
    return found


def _without(fleet: Fleet, broker: int) -> Fleet:
    if broker not in fleet.by_id:
        known = ", ".join(map(str, sorted(fleet.by_id)))
        raise BadInputError(f"broker {broker}", f"it is not there; there are {known}")
    return fleet.without(broker)


def _replacements(before: Fleet, fleet: Fleet, held: Held, rest: Shard, gone: int) -> list[int]:
    """Brokers that may come in: of the same zone, else of zones that may still give one."""
    kinds = _kinds(fleet, held)
    same = [broker for broker in fleet.zones.get(before.by_id[gone].zone, ()) if broker not in rest]
    if same:
        return same
    given = _given(fleet, rest)
    owed = [zone for zone, kind in kinds.items() if given[zone] < kind.least]
    open_ = owed or [zone for zone, kind in kinds.items() if given[zone] < kind.most]
    others = [broker for zone in open_ for broker in fleet.zones[zone] if broker not in rest]
    if not others:
        raise DoesNotFitError(f"no zone can give tenant {held.tenant} a broker for {gone}: 1 too few", 1, 0)
    return others


def _kinds(fleet: Fleet, held: Held) -> dict[str, ZoneShape]:
    """Zone to what a shard of this size takes from it."""
    return dict(zip(fleet.zones, shape(fleet, held.rule.size), strict=True))


def _given(fleet: Fleet, shard: Shard) -> dict[str, int]:
    """Zone to how many of these brokers are in it."""
    found = dict.fromkeys(fleet.zones, 0)
    for broker in shard:
        if broker in fleet.by_id:
            found[fleet.by_id[broker].zone] += 1
    return found


def _take(occupancy: Occupancy, held: Held, rest: Shard, candidates: Sequence[int]) -> Change:
    """The candidate by which rules are exceeded least, then that carries least for its weight."""
    over = occupancy.overstepped(rest, held.rule)

    def cost(broker: int) -> tuple[int, float, int]:
        return over.get(broker, 0), (occupancy.load(broker) + 1) / occupancy.fleet.by_id[broker].weight, broker

    after = tuple(sorted((*rest, min(candidates, key=cost))))
    occupancy.add(Held(held.tenant, after, held.rule))
    return Change(held.tenant, held.shard, after, occupancy.excess(held.tenant) <= 0)


def join(
    occupancy: Occupancy, *newcomers: Broker, level: bool = False, only: Collection[str] | None = None
) -> list[Change]:
    """The brokers are there. Zones that are new take their part of every shard, one broker a Change. Shards that exceed
    their rule take a newcomer where that makes them exceed it less; with `level`, shards of brokers that carry most
    take it too, until it carries its share. Otherwise nobody moves: new tenants use it first. With `only` nobody but
    these tenants does.

    Raises, before anything is changed, BadInputError for an id that is there already, and DoesNotFitError for a new
    zone that is too small for its part of a shard: its brokers come in together, or stay out until then.
    """
    fleet = Fleet((*occupancy.fleet.brokers, *newcomers))
    for size in {held.rule.size for held in occupancy.held.values()}:
        shape(fleet, size)
    new = {broker.zone for broker in newcomers} - set(occupancy.fleet.zones)
    occupancy.change_fleet(fleet)
    found: list[Change] = []
    done = set(occupancy.held) - set(only) if only is not None else set()
    for tenant in (one for one in list(occupancy.held) if new and one not in done):
        while (change := _share_out(occupancy, occupancy.held[tenant], new)) is not None:
            found.append(change)
    done |= {change.tenant for change in found}
    for broker in newcomers:
        for tenant in occupancy.exceeding():
            change = None if tenant in done else _relieve(occupancy, tenant, broker)
            if change is not None:
                found.append(change)
                done.add(tenant)
        while level and (change := _lighten(occupancy, broker, done)) is not None:
            found.append(change)
            done.add(change.tenant)
    return found


def _share_out(occupancy: Occupancy, held: Held, new: set[str]) -> Change | None:
    """One broker of a shard for one of a new zone, while others give more than their part or a new one less."""
    fleet = occupancy.fleet
    kinds, given = _kinds(fleet, held), _given(fleet, held.shard)
    owed = [zone for zone in new if given[zone] < kinds[zone].least]
    zones = owed or [zone for zone in new if given[zone] < kinds[zone].most]
    givers = _crowded(fleet, held) or (_beyond(fleet, held) if owed else [])
    if not zones or not givers:
        return None
    candidates = [broker for zone in zones for broker in fleet.zones[zone] if broker not in held.shard]
    return _swapped(occupancy, held, max(givers, key=occupancy.load), candidates)


def _crowded(fleet: Fleet, held: Held) -> list[int]:
    """Brokers of a shard in zones that give more than their part."""
    kinds, given = _kinds(fleet, held), _given(fleet, held.shard)
    return [broker.id for broker in _known(fleet, held) if given[broker.zone] > kinds[broker.zone].most]


def _beyond(fleet: Fleet, held: Held) -> list[int]:
    """Brokers of a shard in zones that could give one less."""
    kinds, given = _kinds(fleet, held), _given(fleet, held.shard)
    return [broker.id for broker in _known(fleet, held) if given[broker.zone] > kinds[broker.zone].least]


def _known(fleet: Fleet, held: Held) -> list[Broker]:
    return [fleet.by_id[broker] for broker in held.shard if broker in fleet.by_id]


def _swaps(occupancy: Occupancy, held: Held, broker: Broker) -> list[int]:
    """Brokers of a shard that the newcomer may stand for, as zones go."""
    fleet = occupancy.fleet
    kinds = _kinds(fleet, held)
    given = _given(fleet, held.shard)
    roomy = given[broker.zone] < kinds[broker.zone].most
    found = []
    for other in held.shard:
        zone = fleet.by_id[other].zone if other in fleet.by_id else broker.zone
        if zone == broker.zone or (roomy and given[zone] > kinds[zone].least):
            found.append(other)
    return found


def _relieve(occupancy: Occupancy, tenant: str, broker: Broker) -> Change | None:
    held = occupancy.held[tenant]
    before = occupancy.excess(tenant)
    best: tuple[int, int] | None = None
    for other in _swaps(occupancy, held, broker):
        after = _swapped(occupancy, held, other, [broker.id])
        left = _restore(occupancy, held, after)
        if left < before and (best is None or left < best[0]):
            best = left, other
    if best is None:
        return None
    return _swapped(occupancy, held, best[1], [broker.id])


def _swapped(occupancy: Occupancy, held: Held, gone: int, candidates: Sequence[int]) -> Change:
    occupancy.remove(held.tenant)
    rest = tuple(broker for broker in held.shard if broker != gone)
    return _take(occupancy, held, rest, candidates)


def _restore(occupancy: Occupancy, held: Held, change: Change) -> int:
    """Puts the shard back as it was; by how much the changed one exceeded its rule."""
    left = occupancy.excess(change.tenant)
    occupancy.remove(change.tenant)
    occupancy.add(held)
    return left


def _lighten(occupancy: Occupancy, broker: Broker, done: set[str]) -> Change | None:
    """One more shard that takes the newcomer for the broker that carries most, if that evens loads and keeps the
    rules."""
    fleet = occupancy.fleet
    mine = (2 * occupancy.load(broker.id) + 1) / broker.weight

    def carries(other: Broker) -> float:
        return (2 * occupancy.load(other.id) - 1) / other.weight

    for other in sorted(fleet.brokers, key=lambda other: (-carries(other), other.id)):
        if carries(other) <= mine:
            return None
        for tenant in occupancy.tenants_of(other.id):
            held = occupancy.held[tenant]
            if tenant in done or broker.id in held.shard or other.id not in _swaps(occupancy, held, broker):
                continue
            excess = max(occupancy.excess(tenant), 0)
            change = _swapped(occupancy, held, other.id, [broker.id])
            if max(occupancy.excess(tenant), 0) <= excess:
                return change
            _restore(occupancy, held, change)
    return None


@dataclass(frozen=True)
class Repack:
    """A fresh assignment offered to tenants that have shards: who would move, and what it would be worth.

    `moves` are (tenant, shard now, shard then), only of those that would change.
    """

    moves: tuple[tuple[str, Shard, Shard], ...]
    assignment: Assignment
    overlaps_now: Mapping[int, int]
    overlaps_then: Mapping[int, int]

    @property
    def brokers_moved(self) -> int:
        return sum(len(set(after) - set(before)) for _, before, after in self.moves)

    @property
    def better(self) -> bool:
        """Whether the worst overlap would be less, or the same and the expected one less."""
        return _quality(self.overlaps_then) < _quality(self.overlaps_now)


def _quality(histogram: Mapping[int, int]) -> tuple[int, float]:
    return max(histogram, default=0), round(mean_overlap(dict(histogram)), 12)


def repack(occupancy: Occupancy, rule: ShardRule, *, search: ShardSearch | None = None) -> Repack:
    """A fresh optimal assignment for all tenants of `rule`, each given the free shard of it that is nearest to its
    own. Nothing is changed: it is an offer. Tenants with other rules stay where they are and are not looked at.

    Nearest first, greedily: few brokers move, but that they are the fewest is not proven.
    """
    tenants = [held.tenant for held in occupancy.held.values() if held.rule == rule]
    assignment = assign(occupancy.fleet, rule, tenants, allow_overlap=True, search=search)
    now = {tenant: occupancy.held[tenant].shard for tenant in tenants}
    then = _nearest(now, list(assignment.shards.values()))
    moves = tuple((tenant, now[tenant], then[tenant]) for tenant in tenants if now[tenant] != then[tenant])
    whole = Assignment(**{**vars(assignment), "shards": then})
    return Repack(moves, whole, overlap_histogram(list(now.values())), overlap_histogram(list(then.values())))


def _nearest(now: Mapping[str, Shard], shards: Sequence[Shard]) -> dict[str, Shard]:
    """Each tenant one of the shards: pairs that have most in common first, then in order."""
    using: dict[int, list[int]] = {}
    for at, shard in enumerate(shards):
        for broker in shard:
            using.setdefault(broker, []).append(at)
    pairs: list[tuple[int, int, str, int]] = []
    for order, (tenant, shard) in enumerate(now.items()):
        common: dict[int, int] = {}
        for broker in shard:
            for at in using.get(broker, ()):
                common[at] = common.get(at, 0) + 1
        pairs += [(-count, order, tenant, at) for at, count in common.items()]
    given: dict[str, int] = {}
    taken: set[int] = set()
    for _, _, tenant, at in sorted(pairs):
        if tenant not in given and at not in taken:
            given[tenant] = at
            taken.add(at)
    left = (at for at in range(len(shards)) if at not in taken)
    return {tenant: shards[given[tenant] if tenant in given else next(left)] for tenant in now}
