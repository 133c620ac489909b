"""A shard of another size, or one that its zones no longer suit: the fewest brokers change. Pure.

What zones make necessary comes first; then brokers that hold the tenant's replicas stay, those that are down go; then
overlap; then load. Brokers that nothing forces out stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import Fleet, Shard, ShardRule, ZoneShape, shape


def suits(fleet: Fleet, shard: Collection[int], size: int) -> bool:
    """Whether it has that size, its brokers are all there, and zones give their parts. Raises DoesNotFitError."""
    parts = Parts(fleet, size)
    return len(shard) == size and all(one in fleet.by_id for one in shard) and not parts.wrong(shard)


class Parts:
    """What each zone gives to a shard of `size`. Raises DoesNotFitError when the fleet cannot have one."""

    def __init__(self, fleet: Fleet, size: int) -> None:
        self.fleet, self.size = fleet, size
        self.shapes: dict[str, ZoneShape] = dict(zip(fleet.zones, shape(fleet, size), strict=True))

    def given(self, shard: Iterable[int]) -> dict[str, int]:
        found = dict.fromkeys(self.shapes, 0)
        for broker in shard:
            found[self.fleet.by_id[broker].zone] += 1
        return found

    def wrong(self, shard: Collection[int]) -> bool:
        """Whether one has to go before others can come: a zone gives too many, or there is no room for what is owed."""
        given = self.given(shard)
        owed = sum(max(0, kind.least - given[zone]) for zone, kind in self.shapes.items())
        return any(given[zone] > kind.most for zone, kind in self.shapes.items()) or owed > self.size - len(shard)

    def removable(self, shard: Collection[int]) -> list[int]:
        given = self.given(shard)
        crowded = {zone for zone, kind in self.shapes.items() if given[zone] > kind.most}
        zones = crowded or {zone for zone, kind in self.shapes.items() if given[zone] > kind.least}
        return [broker for broker in shard if self.fleet.by_id[broker].zone in zones]

    def addable(self, shard: Collection[int]) -> list[int]:
        given = self.given(shard)
        owed = [zone for zone, kind in self.shapes.items() if given[zone] < kind.least]
        zones = owed or [zone for zone, kind in self.shapes.items() if given[zone] < kind.most]
        return [broker for zone in zones for broker in self.fleet.zones[zone] if broker not in shard]


def reshape(
    occupancy: Occupancy,
    tenant: str,
    rule: ShardRule,
    *,
    holding: Collection[int] = (),
    down: Collection[int] = (),
) -> Shard:
    """The tenant's shard suits `rule` afterwards. `holding` are brokers with its replicas. Raises DoesNotFitError,
    before anything is changed."""
    fleet = occupancy.fleet
    parts = Parts(fleet, rule.size)
    held = occupancy.remove(tenant)
    chosen = [broker for broker in held.shard if broker in fleet.by_id]
    while parts.wrong(chosen):

        def dispensable(broker: int) -> tuple[bool, bool, int, int, int]:
            left = occupancy.shared(other for other in chosen if other != broker)
            worst = max(left.values(), default=0)
            return broker in down, broker not in holding, -worst, occupancy.load(broker), broker

        chosen.remove(max(parts.removable(chosen), key=dispensable))
    while len(chosen) < rule.size:
        over = occupancy.overstepped(tuple(chosen), rule)

        def cost(broker: int) -> tuple[bool, bool, int, float, int]:
            carries = (occupancy.load(broker) + 1) / fleet.by_id[broker].weight
            return broker in down, broker not in holding, over.get(broker, 0), carries, broker  # noqa: B023 - used at once

        chosen.append(min(parts.addable(chosen), key=cost))
    shard = tuple(sorted(chosen))
    occupancy.add(Held(tenant, shard, rule))
    return shard
