"""The shards there are, and one more: placing a tenant moves nobody.

Tenants may have rules of their own; what two of them may share is the less of what both allow. The next shard is the
first free one of the family that a fresh assignment would use, so that tenants who come one by one reach the same
number as those placed together, and otherwise found by search, brokers that carry least first. Where no shard keeps
the rule, one with the least worst overlap is taken and the answer says so.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from controlplane.domain.placement.families import families
from controlplane.domain.placement.growing import LISTED, Apart
from controlplane.domain.placement.levelling import careful, choose
from controlplane.domain.placement.measure import share_more, subsets
from controlplane.domain.placement.values import BadInputError, Fleet, Shard, ShardRule, shape

NODES = 400
"""Partial shards looked at by one search: counted, so that every machine finds the same."""
CHECKS = 16
"""Shards of the family that are tried before searching."""
PARTS = 2_000_000
"""Up to so many sets of brokers that nobody may share any more are listed, or shards compared, to see beforehand which
shards are left."""


@dataclass(frozen=True, slots=True)
class Held:
    """A tenant's shard and its rule."""

    tenant: str
    shard: Shard
    rule: ShardRule


@dataclass(frozen=True, slots=True)
class Placement:
    """`worst` brokers are shared with some tenant at most; `within` says whether every rule is kept."""

    tenant: str
    shard: Shard
    worst: int
    within: bool


class Occupancy:
    """Who uses which broker of one cell. It changes as tenants are placed and removed; the fleet it is made for may
    name fewer brokers than the shards do (those that have gone carry nobody new)."""

    def __init__(self, fleet: Fleet, held: Iterable[Held] = ()) -> None:
        self.fleet = fleet
        self.held: dict[str, Held] = {}
        self._at: dict[int, dict[str, None]] = {broker: {} for broker in sorted(fleet.by_id)}
        self._exclusive: Counter[int] = Counter()
        self._allowed: Counter[int] = Counter()
        self._free: dict[ShardRule, _Free] = {}
        for one in held:
            self.add(one)

    def add(self, one: Held) -> None:
        """Raises BadInputError for a tenant that has a shard already."""
        if one.tenant in self.held:
            raise BadInputError(f"tenant {one.tenant}", "it has a shard already; remove that one first")
        self.held[one.tenant] = one
        self._allowed[one.rule.max_overlap] += 1
        for broker in one.shard:
            self._at.setdefault(broker, {})[one.tenant] = None
            if not one.rule.max_overlap:
                self._exclusive[broker] += 1
        for free in self._free.values():
            free.take(one.shard)

    def remove(self, tenant: str) -> Held:
        """Raises KeyError for a tenant that has none."""
        gone = self.held.pop(tenant)
        self._allowed[gone.rule.max_overlap] -= 1
        for broker in gone.shard:
            del self._at[broker][tenant]
            if not gone.rule.max_overlap:
                self._exclusive[broker] -= 1
        for free in self._free.values():
            free.release(gone.shard)
        return gone

    def change_fleet(self, fleet: Fleet) -> None:
        """Other brokers from now on. Shards stay as they are."""
        self.fleet = fleet
        for broker in fleet.by_id:
            self._at.setdefault(broker, {})
        self._free.clear()

    def exceeding(self) -> list[str]:
        """Tenants that share more with some other than both allow."""
        shards = [held.shard for held in self.held.values()]
        least = min((held.rule.max_overlap for held in self.held.values()), default=0)
        comparing = sum(len(tenants) ** 2 for tenants in self._at.values())
        if subsets(shards, least + 1) <= min(comparing, PARTS) and not share_more(shards, least):
            return []
        return [tenant for tenant in self.held if self.excess(tenant)]

    def load(self, broker: int) -> int:
        return len(self._at[broker])

    def exclusive(self, broker: int) -> bool:
        """Whether a tenant that shares nothing uses it."""
        return self._exclusive[broker] > 0

    def strictest(self, rule: ShardRule) -> int:
        """What a tenant with `rule` may share with every other, whichever it is."""
        return min([rule.max_overlap, *(allowed for allowed, count in self._allowed.items() if count > 0)])

    def tenants_of(self, broker: int) -> tuple[str, ...]:
        return tuple(self._at.get(broker, ()))

    def place(self, tenant: str, rule: ShardRule) -> Placement:
        """A shard for one more tenant, which has it from now on. Raises DoesNotFitError when the fleet is too small
        for it, and BadInputError for a tenant that has one."""
        shape(self.fleet, rule.size)
        shard = (self._next_free(rule) if self.fleet.even else None) or self.search(rule)
        if shard is None and not self.fleet.even:
            shard = self._next_free(rule)
        for worst in range(1, rule.size + 1):
            if shard is None:
                shard = _Search(self, rule, worst).run()
        if shard is None:
            raise AssertionError("with any overlap allowed every shard of the right shape will do")
        worst, excess = self._worst(shard, rule)
        self.add(Held(tenant, shard, rule))
        return Placement(tenant, shard, worst, excess <= 0)

    def search(self, rule: ShardRule) -> Shard | None:
        """A shard that keeps the rules of all, brokers that carry least first; None if none was found."""
        return _Search(self, rule, 0).run()

    def shared(self, shard: Iterable[int], without: str | None = None) -> Counter[str]:
        """Tenant to how many of these brokers it uses, for those that use any."""
        found = Counter(chain.from_iterable(self._at.get(broker, ()) for broker in shard))
        if without is not None:
            del found[without]
        return found

    def _worst(self, shard: Shard, rule: ShardRule, without: str | None = None) -> tuple[int, int]:
        """(the most brokers shared with another tenant, by how many that exceeds what both allow; 0 or less: it does
        not)."""
        shared = self.shared(shard, without)
        worst = max(shared.values(), default=0)
        strict = self.strictest(rule)
        if worst <= strict:
            return worst, 0
        over = (count - self.limit(rule, other) for other, count in shared.items() if count > strict)
        return worst, max(0, *over)

    def overstepped(self, rest: Shard, rule: ShardRule) -> dict[int, int]:
        """Broker to by how many a shard of `rest` and that broker would share too many with somebody; brokers that are
        not named would not."""
        found: dict[int, int] = {}
        for other, count in self.shared(rest).items():
            over = count + 1 - self.limit(rule, other)
            if over > 0:
                for broker in self.held[other].shard:
                    found[broker] = max(found.get(broker, 0), over)
        for broker, tenants in self._at.items():
            if tenants and (not rule.max_overlap or self.exclusive(broker)):
                found[broker] = max(found.get(broker, 0), 1)
        return found

    def limit(self, rule: ShardRule, other: str) -> int:
        """How many brokers a tenant with `rule` and `other` may share."""
        return min(rule.max_overlap, self.held[other].rule.max_overlap)

    def excess(self, tenant: str) -> int:
        """By how many brokers it shares more with some other than both allow."""
        mine = self.held[tenant]
        return self._worst(mine.shard, mine.rule, tenant)[1]

    def _next_free(self, rule: ShardRule) -> Shard | None:
        if rule not in self._free:
            self._free[rule] = _Free(_pool(self.fleet, rule), [one.shard for one in self.held.values()], rule)
        free = self._free[rule]
        for _ in range(CHECKS):
            shard = free.next()
            if shard is None or not self._worst(shard, rule)[1]:
                return shard
            free.park()
        return None


@lru_cache(maxsize=8)
def _pool(fleet: Fleet, rule: ShardRule) -> tuple[Shard, ...]:
    """The shards that a fresh assignment would use, in the order that keeps brokers level; none where they are too
    many to list, or to put in order where search finds one of any that are left."""
    zones = shape(fleet, rule.size)
    family = families(zones, rule.size, rule.max_overlap)[0]
    any_will_do = rule.max_overlap == rule.size - 1
    if family.count > LISTED or (
        any_will_do and not careful(family.count, family.count, rule.size, len(fleet.brokers))
    ):
        return ()
    shards = (
        family.shards() if family.level else choose(family.shards(), family.count, [1.0] * len(fleet.brokers), zones)
    )
    ids = [broker for members in fleet.zones.values() for broker in members]
    return tuple(tuple(sorted(ids[place] for place in shard)) for shard in shards)


class _Free:
    """The shards of a family that no tenant has, earliest first. Those that met a tenant of another shard are parked
    until a tenant goes: until then they would again."""

    def __init__(self, pool: Sequence[Shard], held: Sequence[Shard], rule: ShardRule) -> None:
        self.pool = pool
        self.position = {shard: at for at, shard in enumerate(pool)}
        gone = set(held)
        free = [at for at, shard in enumerate(pool) if shard not in gone]
        self.open = set(free)
        work = sum(min(math.comb(len(shard), rule.max_overlap + 1), len(free)) for shard in held)
        apart = Apart(held if work <= PARTS else (), rule.size, rule.max_overlap)
        self.parked = [at for at in free if not apart.allows(pool[at])]
        passed = set(self.parked)
        self.queue = [at for at in free if at not in passed]

    def take(self, shard: Shard) -> None:
        self.open.discard(self.position.get(shard, -1))

    def release(self, shard: Shard) -> None:
        at = self.position.get(shard)
        if at is not None and at not in self.open:
            self.open.add(at)
            heapq.heappush(self.queue, at)
        for at in self.parked:
            heapq.heappush(self.queue, at)
        self.parked.clear()

    def next(self) -> Shard | None:
        """The earliest one; it stays where it is."""
        while self.queue and self.queue[0] not in self.open:
            heapq.heappop(self.queue)
        return self.pool[self.queue[0]] if self.queue else None

    def park(self) -> None:
        """Passes over the one that `next` gave."""
        self.parked.append(heapq.heappop(self.queue))


class _Search:
    """Depth first over partial shards, brokers that carry least for their weight first. A pair of tenants may share
    what its rules allow, or `slack` if that is more."""

    def __init__(self, occupancy: Occupancy, rule: ShardRule, slack: int) -> None:
        self.occupancy, self.rule, self.slack = occupancy, rule, slack
        fleet = occupancy.fleet
        self.shapes = shape(fleet, rule.size)
        self.zones = [
            sorted(ids, key=lambda broker: ((occupancy.load(broker) + 1) / fleet.by_id[broker].weight, broker))
            for ids in fleet.zones.values()
        ]
        self.shared: Counter[str] = Counter()
        self.blocked: Counter[int] = Counter()
        self.nodes = 0
        self.uniform = max(rule.max_overlap, slack) if occupancy.strictest(rule) == rule.max_overlap else None
        if not slack:
            whole = rule.max_overlap == 0
            self.blocked.update(
                broker
                for ids in self.zones
                for broker in ids
                if (occupancy.load(broker) if whole else occupancy.exclusive(broker))
            )

    def run(self) -> Shard | None:
        found = self._extend([], [0] * len(self.zones))
        return tuple(sorted(found)) if found is not None else None

    def _extend(self, chosen: list[int], given: list[int]) -> list[int] | None:
        if len(chosen) == self.rule.size:
            return chosen
        for zone, broker in self._next(chosen, given):
            self.nodes += 1
            if self.nodes > NODES:
                return None
            reached = self._take(broker)
            given[zone] += 1
            found = self._extend([*chosen, broker], given)
            if found is not None:
                return found
            given[zone] -= 1
            self._give_back(broker, reached)
        return None

    def _next(self, chosen: list[int], given: list[int]) -> list[tuple[int, int]]:
        """(zone, broker) that may come next. Where zones must still give something, the one with least choice does."""
        left = self.rule.size - len(chosen)
        owed = [zone for zone, kind in enumerate(self.shapes) if given[zone] < kind.least]
        free = {
            zone: [broker for broker in ids if not self.blocked[broker] and broker not in chosen]
            for zone, ids in enumerate(self.zones)
            if given[zone] < self.shapes[zone].most
        }
        if any(len(free[zone]) < self.shapes[zone].least - given[zone] for zone in owed):
            return []
        if owed and left == sum(self.shapes[zone].least - given[zone] for zone in owed):
            zone = min(owed, key=lambda zone: (len(free[zone]), zone))
            return [(zone, broker) for broker in free[zone]]
        weight = self.occupancy.fleet.by_id
        every = [(zone, broker) for zone, brokers in free.items() for broker in brokers]
        return sorted(every, key=lambda one: ((self.occupancy.load(one[1]) + 1) / weight[one[1]].weight, one[1]))

    def _take(self, broker: int) -> list[str]:
        """Tenants with whom nothing more may be shared from now on."""
        reached = []
        for other in self.occupancy.tenants_of(broker):
            self.shared[other] += 1
            limit = self.uniform
            if limit is None:
                limit = max(self.occupancy.limit(self.rule, other), self.slack)
            if self.shared[other] == limit:
                reached.append(other)
                self.blocked.update(self.occupancy.held[other].shard)
        return reached

    def _give_back(self, broker: int, reached: list[str]) -> None:
        for other in self.occupancy.tenants_of(broker):
            self.shared[other] -= 1
        for other in reached:
            self.blocked.subtract(self.occupancy.held[other].shard)
