"""Which brokers each tenant of a cell is to use: the shards that are recorded, and what has to change in them. Pure.

In an order that makes the outcome a function of the record: those that have lost a broker; those that a new broker
relieves; those whose size or zones no longer suit; then tenants that have none, the oldest first. At most one broker of
a shard changes for each broker that comes or goes. A tenant that `stays` keeps its shard whatever it is.
"""

from __future__ import annotations

from controlplane.api import names
from controlplane.domain.check import Check
from controlplane.domain.placement.changes import join, leave
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import BadInputError, Broker, DoesNotFitError, Fleet, Shard, ShardRule, shape
from controlplane.domain.rolling.health import listing
from controlplane.domain.tenants.member import Member, unfit
from controlplane.domain.tenants.reshape import reshape, suits
from controlplane.domain.tenants.values import CellView

NO_ZONE = "\0gone"
"""The zone of a broker that has gone: none that any other has."""


def shards(members: list[Member], view: CellView, now: float) -> Occupancy:
    """Who uses which broker from now on; problems are noted in the members."""
    fleet = view.fleet
    occupancy = Occupancy(fleet)
    for member in members:
        if member.settled:
            occupancy.add(Held(member.name, member.settled, _rule_of(member)))
    _replace(members, occupancy, view, now)
    _relieve(members, occupancy, view)
    occupancy.change_fleet(fleet)
    for member in members:
        if member.name in occupancy.held and not member.stays and member.rule is not None:
            _suit(member, member.rule, occupancy, view, now)
    for member in members:
        if member.name not in occupancy.held and not member.stays and member.rule is not None:
            _place(member, member.rule, occupancy, view)
    return occupancy


def _rule_of(member: Member) -> ShardRule:
    """A tenant whose rule means nothing keeps its shard by one that does."""
    size = len(member.settled)
    return member.rule or ShardRule(size, min(member.tenant.spec.shard.max_overlap, size - 1))


def _replace(members: list[Member], occupancy: Occupancy, view: CellView, now: float) -> None:
    fleet = view.fleet
    for member in members:
        if member.stays or member.wanted or member.name not in occupancy.held:
            continue
        for broker in member.overdue(fleet, now):
            before = occupancy.held[member.name]
            try:
                _take_out(member.name, broker, occupancy, view)
                if broker not in fleet.by_id or _is_better(before, occupancy.held[member.name], view):
                    member.changed = True
                    continue
            except (DoesNotFitError, BadInputError) as error:
                if broker not in fleet.by_id:
                    member.problem = unfit(member, error)
                    break
            # One that is down and has no stand-in stays: it may come back.
            occupancy.remove(member.name)
            occupancy.add(before)
    occupancy.change_fleet(fleet)


def _take_out(name: str, broker: int, occupancy: Occupancy, view: CellView) -> None:
    """Another takes its place: one that is up, where zones have one."""
    fleet, size = view.fleet, occupancy.held[name].rule.size
    zone = fleet.by_id[broker].zone if broker in fleet.by_id else NO_ZONE
    rest = (one for one in standing(fleet, view.down, size).brokers if one.id != broker)
    occupancy.change_fleet(Fleet((*rest, Broker(broker, zone))))
    leave(occupancy, broker, only={name})


def _is_better(before: Held, after: Held, view: CellView) -> bool:
    """Whether what has come is up, and zones give their parts as they did. Raises DoesNotFitError."""
    came, size = set(after.shard) - set(before.shard), before.rule.size
    return came.isdisjoint(view.down) and (
        suits(view.fleet, after.shard, size) or not suits(view.fleet, before.shard, size)
    )


def _relieve(members: list[Member], occupancy: Occupancy, view: CellView) -> None:
    """Brokers that have joined are offered to shards that exceed their rule, once."""
    fleet = view.fleet
    judging = [one for one in members if one.known and not one.stays and one.name in occupancy.held]
    new = {broker for one in judging for broker in fleet.by_id if broker not in one.known}
    old = tuple(broker for broker in fleet.brokers if broker.id not in new)
    if not new or not old:
        return
    movable = {one.name: one for one in judging if not (one.changed or one.wanted or new <= one.known)}
    occupancy.change_fleet(Fleet(old))
    try:
        for change in join(occupancy, *(fleet.by_id[broker] for broker in sorted(new)), only=frozenset(movable)):
            movable[change.tenant].changed = True
    except (DoesNotFitError, BadInputError):
        # A zone that is too small for its part: whose shard that concerns says so.
        occupancy.change_fleet(fleet)


def _suit(member: Member, rule: ShardRule, occupancy: Occupancy, view: CellView, now: float) -> None:
    gone = set(member.overdue(view.fleet, now))
    try:
        if member.wanted is not None:
            _obey(member, member.wanted, rule, occupancy)
        elif not suits(view.fleet, occupancy.held[member.name].shard, rule.size):
            reshape(occupancy, member.name, rule, holding=member.holds.brokers - gone, down=view.down)
    except DoesNotFitError as error:
        member.problem = unfit(member, error)


def _place(member: Member, rule: ShardRule, occupancy: Occupancy, view: CellView) -> None:
    """Where its topics lie already, if it has any; else a shard as a fresh assignment would have it."""
    lying = tuple(sorted(broker for broker in member.holds.brokers if broker in view.fleet.by_id))
    try:
        shape(view.fleet, rule.size)
        if member.wanted is not None:
            _obey(member, member.wanted, rule, occupancy)
            return
        usable = view.fleet if lying else standing(view.fleet, view.down, rule.size)
        if occupancy.fleet != usable:
            occupancy.change_fleet(usable)
        if not lying:
            occupancy.place(member.name, rule)
            return
        occupancy.add(Held(member.name, lying, rule))
        if not suits(view.fleet, lying, rule.size):
            reshape(occupancy, member.name, rule, holding=lying, down=view.down)
    except DoesNotFitError as error:
        member.problem = unfit(member, error)


def _obey(member: Member, wanted: Shard, rule: ShardRule, occupancy: Occupancy) -> None:
    """What a person asks for, where zones allow it; otherwise everything stays as it is."""
    fleet = occupancy.fleet
    missing = [broker for broker in wanted if broker not in fleet.by_id]
    if missing or not suits(fleet, wanted, rule.size):
        what = f"there is no broker {listing(missing)}" if missing else "its zones give other parts to it"
        if not missing and len(wanted) != rule.size:
            what = f"it has {len(wanted)} brokers, and spec.shard.size is {rule.size}"
        member.problem = Check(
            "ShardDoesNotFit",
            ok=False,
            evidence=f"metadata.annotations[{names.SHARD}]: {listing(wanted)} is no shard of this cell: {what}.",
            remedy="Correct the annotation, or take it away.",
        )
        return
    if member.name in occupancy.held:
        occupancy.remove(member.name)
    occupancy.add(Held(member.name, wanted, rule))


def standing(fleet: Fleet, down: frozenset[int], size: int) -> Fleet:
    """The fleet without brokers that are down, as far as its zones can do without. Raises DoesNotFitError as `shape`
    does, for the whole fleet."""
    if not down:
        return fleet
    spare = {
        zone: len(ids) - kind.most for (zone, ids), kind in zip(fleet.zones.items(), shape(fleet, size), strict=True)
    }
    kept = []
    for broker in fleet.brokers:
        if broker.id in down and spare[broker.zone] > 0:
            spare[broker.zone] -= 1
        else:
            kept.append(broker)
    return Fleet(tuple(kept))
