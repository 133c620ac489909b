"""What a rebalance does, step by step: throttle, move, lift the throttle, let leaders lead; and each one's way back.

Every look asks the controller what is in flight first, and then a broker where replicas are: what has arrived in
between is seen as in flight, never as somewhere else. A broker may be a moment behind, so

- what sets or undoes something is done once before it is believed to be there already (`intent`): a look that comes too
  early may show the world before last;
- an action is one request, so that nothing is ever half done, and whoever dies after each gets on;
- a partition that is not where it should be is doubted for DOUBT_SECONDS before the plan is called stale.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.operation import verb
from controlplane.domain.operation.verb import Doing, Done, Failed, Pending, Traits, UnderWay
from controlplane.domain.rebalance import room, steps
from controlplane.domain.rebalance.hops import Hop, at_once
from controlplane.domain.rebalance.standing import Look, Standing, stale
from controlplane.domain.rebalance.steps import Batch, batch_of
from controlplane.domain.rebalance.throttle import Changes, Throttle
from controlplane.domain.rolling.health import listing
from controlplane.ports import Clock, KafkaAdmin, KafkaError
from controlplane.services.operation.verbs import Verbs
from controlplane.services.rebalance.cells import CellGoneError, Cells

DOUBT_SECONDS = 10.0
"""Longer than a broker that is taken to be caught up can be behind the controllers."""
SIZES_SECONDS = 10.0
"""How often it is looked at how much brokers hold, while a batch waits for room."""
ABSENT_SECONDS = 300.0
"""How long a broker that replicas are on their way to may be down before the batch is given up."""
_GONE = frozenset({"UNKNOWN_TOPIC_OR_PARTITION"})
_NOT_MOVING = _GONE | {"NO_REASSIGNMENT_IN_PROGRESS"}


class OnCell(ABC):
    """A verb on the brokers of one cell. `back`: it undoes, and where the cell is gone there is nothing to undo."""

    name: str
    back = False

    def __init__(self, cells: Cells, clock: Clock, *, doubt_seconds: float = DOUBT_SECONDS) -> None:
        self._cells, self._clock, self._doubt_seconds = cells, clock, doubt_seconds
        self._since: dict[tuple[str, int, str], float] = {}

    @property
    def traits(self) -> Traits:
        return steps.TRAITS[self.name]

    async def observe(self, doing: Doing) -> verb.Look:
        batch = batch_of(doing.step)
        try:
            return await self._seen(doing, batch, await self._cells.admin(batch.cluster))
        except CellGoneError:
            if self.back:
                return Done(f"{batch.cluster} is gone")
            return Failed(cluster_not_found(batch.cluster), again=False)

    async def act(self, doing: Doing) -> None:
        batch = batch_of(doing.step)
        try:
            await self._do(batch, await self._cells.admin(batch.cluster))
        except CellGoneError:
            return  # the next look says so

    @abstractmethod
    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look: ...

    @abstractmethod
    async def _do(self, batch: Batch, admin: KafkaAdmin) -> None: ...

    def _doubts(self, doing: Doing) -> bool:
        """Whether what was just seen of this step, and seems wrong, may still be a broker that is behind."""
        return not self._lasted(doing, "doubt", self._doubt_seconds)

    def _sure(self, doing: Doing) -> None:
        self._over(doing, "doubt")

    def _lasted(self, doing: Doing, what: str, seconds: float) -> bool:
        """Whether this has been seen at every look of the last `seconds`. Another life of the operator counts anew."""
        now = self._clock.monotonic()
        return now - self._since.setdefault((doing.operation, doing.step.id, what), now) >= seconds

    def _over(self, doing: Doing, what: str) -> None:
        self._since.pop((doing.operation, doing.step.id, what), None)

    async def _stale(self, doing: Doing, batch: Batch, look: Look, admin: KafkaAdmin) -> verb.Look | None:
        """What it comes to that these hops are not as approved, or not to be begun any more; None while they are."""
        hops = batch.hops
        begins = doing.intent is None and not self.traits.urgent
        if begins and (broken := (await self._cells.bounds(batch.cluster)).broken(hops)) is not None:
            return Failed(broken, again=False)
        absent = sorted({broker for hop in hops for broker in hop.adding} - look.brokers)
        why = stale(look, hops, await admin.registered_brokers() if absent else None)
        if why is not None:
            if not self._doubts(doing):
                return Failed(why, again=False)
            return UnderWay(why.evidence) if doing.intent is not None else Pending((why,))
        self._sure(doing)
        if not absent:
            self._over(doing, "absent")
        elif doing.intent is None:
            if self.traits.urgent and self._lasted(doing, "absent", ABSENT_SECONDS):  # it is throttled already
                return Failed(_absent(absent), again=False)
            return Pending((_absent(absent),))
        return None


class SetThrottle(OnCell):
    """Done once before it counts, also where all has arrived already: LiftThrottle acts then too, and what undoes that
    is undone by nothing but what undoes this."""

    name = steps.SET_THROTTLE

    def __init__(self, cells: Cells, clock: Clock, *, doubt_seconds: float = DOUBT_SECONDS) -> None:
        super().__init__(cells, clock, doubt_seconds=doubt_seconds)
        self._room: dict[str, tuple[tuple[str, int], float, Check | None]] = {}
        """By cell: for which step there was room or not, as of when (monotonic)."""

    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:
        look = await looked(admin)
        if (not_as_approved := await self._stale(doing, batch, look, admin)) is not None:
            return not_as_approved
        if doing.intent is None and (full := await self._too_full(doing, batch, look, admin)) is not None:
            return Pending((full,))
        return await self._is_on(doing, batch, admin)

    async def _too_full(self, doing: Doing, batch: Batch, look: Look, admin: KafkaAdmin) -> Check | None:
        """Whether brokers have room for what the batch brings them, beside what they hold now: it may have grown since
        the plan was made. Sizes take a look at every log dir: while it waits they are looked at now and then."""
        now, known = self._clock.monotonic(), self._room.get(batch.cluster)
        if known is not None and known[0] == (doing.operation, doing.step.id) and now - known[1] < SIZES_SECONDS:
            return known[2]
        full, capacities = None, await self._cells.capacities(batch.cluster)
        hops = [hop for hop in look.grouped(batch.hops)[Standing.BEFORE] if hop.adding & capacities.keys()]
        if hops:
            sizes = await admin.partition_sizes()
            holds = room.held((one.replicas, sizes.get(one.id, 0)) for one in look.partitions.values())
            gets = room.held((tuple(hop.adding), sizes.get(hop.id, 0)) for hop in hops)
            full = room.too_full(gets, room.free(holds, capacities))
        self._room[batch.cluster] = (doing.operation, doing.step.id), now, full
        return full

    async def _is_on(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:
        throttle = throttle_of(batch)
        if not throttle.any:
            return Done("others throttle all of it")
        if doing.intent is None:
            return Pending()
        return Done() if throttle.is_on(*await admin.settings(throttle.topics)) else Pending()

    async def _do(self, batch: Batch, admin: KafkaAdmin) -> None:
        throttle = throttle_of(batch)
        await _alter(admin, throttle.put(*await admin.settings(throttle.topics)))


class RestoreThrottle(SetThrottle):
    """As SetThrottle, for what is moved back, wherever it stands."""

    name = steps.RESTORE_THROTTLE
    back = True

    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:
        return await self._is_on(doing, batch, admin)


class LiftThrottle(OnCell):
    """Also undoes SetThrottle."""

    name = steps.LIFT_THROTTLE
    back = True

    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:
        throttle = throttle_of(batch)
        if not throttle.any:
            return Done("none of it was ours")
        if doing.intent is None:
            return Pending()
        return Done() if throttle.is_off(*await admin.settings(throttle.topics)) else Pending()

    async def _do(self, batch: Batch, admin: KafkaAdmin) -> None:
        throttle = throttle_of(batch)
        await _alter(admin, throttle.lifted(*await admin.settings(throttle.topics)))


class MoveReplicas(OnCell):
    """A batch is given to the controller and looked at until all of it has arrived.

    Where one broker leads more of it than a plan lets a broker serve (leaders are not where they were to be), it is
    given in parts. A part may have been refused: what is in flight lands first, then the rest is asked for. A batch
    does not wait for ever for a broker that is down, be it one that replicas go to or the last that had them: whoever
    repairs that may need the cell, which it keeps. No replicas are taken away where fewer would be in sync than writes
    need.
    """

    name = steps.MOVE_REPLICAS

    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:
        look = await looked(admin)
        if (not_as_approved := await self._stale(doing, batch, look, admin)) is not None:
            return not_as_approved
        groups = look.grouped(batch.hops)
        if moving := groups[Standing.MOVING]:
            if absent := sorted({broker for hop in moving for broker in hop.adding} - look.brokers):
                if self._lasted(doing, "absent", ABSENT_SECONDS):
                    return Failed(_absent(absent), again=False)
            else:
                self._over(doing, "absent")
            if offline := sorted(hop.id for hop in moving if look.is_offline(hop.id)):
                if self._lasted(doing, "offline", ABSENT_SECONDS):
                    return Failed(_offline(offline), again=False)
            else:
                self._over(doing, "offline")
            arrived = len(groups[Standing.AFTER])
            return UnderWay(f"{arrived} of {len(batch.hops)} partitions have arrived, {len(moving)} are on their way")
        if short := sorted(hop.id for hop in groups[Standing.BEFORE] if look.would_be_short(hop)):
            if self._lasted(doing, "short", ABSENT_SECONDS):
                return Failed(_short(short), again=False)
            return Pending((_short(short),))
        self._over(doing, "short")
        if groups[Standing.BEFORE]:
            return Pending()
        gone = groups[Standing.GONE]
        return Done(f"gone meanwhile: {listing(hop.id for hop in gone)}" if gone else "")

    async def _do(self, batch: Batch, admin: KafkaAdmin) -> None:
        look = await looked(admin)
        targets = {hop.id: hop.after for hop in _part(batch, look, look.grouped(batch.hops)[Standing.BEFORE])}
        check_results(await admin.alter_partition_reassignments(targets), but=_GONE)


class OrderReplicas(MoveReplicas):
    """Nothing is copied: it is so at once."""

    name = steps.ORDER_REPLICAS


class MoveBack(OnCell):
    """What is on its way is cancelled, what has arrived goes back, and the leaders of before lead again.

    A partition that somebody else has put elsewhere is left there, and so is one whose broker of before stays away for
    ABSENT_SECONDS or is not registered any more: it would keep the cell for ever. A cancelled one has its replicas back
    in another order (KIP-455), which is put right as well.
    """

    name = steps.MOVE_BACK
    back = True

    def __init__(self, cells: Cells, clock: Clock, *, doubt_seconds: float = DOUBT_SECONDS) -> None:
        super().__init__(cells, clock, doubt_seconds=doubt_seconds)
        self._lost: dict[str, Mapping[Hop, frozenset[int]]] = {}
        """By cell, as of the latest look: hops that are given up, and the brokers that are gone."""

    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:
        if doing.intent is None:
            return Pending()
        look = await looked(admin)
        lost = self._lost[batch.cluster] = await self._given_up(doing, batch, look, admin)
        groups = look.grouped(hop for hop in batch.hops if hop not in lost)
        disordered, left = _disordered(look, groups[Standing.ELSEWHERE])
        if groups[Standing.MOVING] or disordered or _on_the_way(look, lost):
            return Pending()
        if groups[Standing.AFTER] and not groups[Standing.RETURNING]:
            return Pending()
        if returning := groups[Standing.RETURNING]:
            return UnderWay(f"{len(returning)} of {len(batch.hops)} partitions are on their way back")
        if look.leaderless(batch.hops, back=True):
            return Pending()
        if left and self._doubts(doing):
            return UnderWay("looks again at what seems to be elsewhere")
        self._sure(doing)
        words = [f"moved elsewhere by somebody else, and left there: {listing(hop.id for hop in left)}"] if left else []
        if away := [hop for hop in lost if _is_away(look, hop)]:
            gone = sorted({broker for hop in away for broker in lost[hop]})
            brokers = f"broker {gone[0]} is gone" if len(gone) == 1 else f"brokers {listing(gone)} are gone"
            words.append(f"left there: {listing(hop.id for hop in away)} ({brokers})")
        return Done("; ".join(words))

    async def _given_up(
        self, doing: Doing, batch: Batch, look: Look, admin: KafkaAdmin
    ) -> Mapping[Hop, frozenset[int]]:
        """Hops that cannot be undone, each with the brokers of before that are gone."""
        down = {broker for hop in batch.hops for broker in hop.before} - look.brokers
        for broker in {broker for hop in batch.hops for broker in hop.before} & look.brokers:
            self._over(doing, f"absent {broker}")
        registered = await admin.registered_brokers() if down else None
        unknown = down - registered if registered is not None else frozenset()
        dead = {broker for broker in down if self._lasted(doing, f"absent {broker}", ABSENT_SECONDS)}
        found = {hop: (hop.removing & dead) | (frozenset(hop.before) & unknown) for hop in batch.hops}
        return {hop: gone for hop, gone in found.items() if gone}

    async def _do(self, batch: Batch, admin: KafkaAdmin) -> None:
        """Those that seem to be back may not be, and are sent along: for those that are it changes nothing."""
        look, lost = await looked(admin), self._lost.get(batch.cluster, {})
        groups = look.grouped(hop for hop in batch.hops if hop not in lost)
        disordered, _ = _disordered(look, groups[Standing.ELSEWHERE])
        cancelled = (*groups[Standing.MOVING], *_on_the_way(look, lost))
        targets: dict[Any, Sequence[int] | None] = {hop.id: None for hop in cancelled}
        back = () if groups[Standing.RETURNING] else _part(batch, look, groups[Standing.AFTER], back=True)
        targets |= {hop.id: hop.before for hop in (*back, *disordered)}
        leaderless = look.leaderless(batch.hops, back=True)
        if leaderless and not targets:
            await admin.elect_preferred_leaders(leaderless)
            return
        targets |= {hop.id: hop.before for hop in groups[Standing.BEFORE]}
        check_results(await admin.alter_partition_reassignments(targets), but=_NOT_MOVING)


class ElectLeaders(OnCell):
    name = steps.ELECT_LEADERS

    async def _seen(self, doing: Doing, batch: Batch, admin: KafkaAdmin) -> verb.Look:  # noqa: ARG002 - overridden
        look = await looked(admin)
        return Pending() if look.leaderless(batch.hops, back=False) else Done()

    async def _do(self, batch: Batch, admin: KafkaAdmin) -> None:
        look = await looked(admin)
        await admin.elect_preferred_leaders(look.leaderless(batch.hops, back=False))


def verbs(cells: Cells, clock: Clock, *, doubt_seconds: float = DOUBT_SECONDS) -> Verbs:
    kinds = (SetThrottle, MoveReplicas, LiftThrottle, RestoreThrottle, MoveBack, OrderReplicas, ElectLeaders)
    return {kind.name: kind(cells, clock, doubt_seconds=doubt_seconds) for kind in kinds}


async def looked(admin: KafkaAdmin) -> Look:
    in_flight = await admin.list_partition_reassignments()
    kafka, _ = await admin.observe()
    return Look.of(kafka, in_flight)


def throttle_of(batch: Batch) -> Throttle:
    """Raises ValueError for a step that has none."""
    if batch.throttle is None:
        raise ValueError("a step without a rate has no throttle")
    return batch.throttle


def check_results(results: Mapping[Any, KafkaError | None], *, but: frozenset[str]) -> None:
    """Raises the first KafkaError whose code is not among these."""
    for what, error in results.items():
        if error is not None and error.code not in but:
            raise KafkaError(error.code, f"{what}: {error.message}", retriable=error.retriable)


def cluster_not_found(cell: str) -> Check:
    namespace, _, name = cell.partition("/")
    return Check(
        "ClusterNotFound",
        ok=False,
        evidence=f"spec.clusterRef: there is no KafkaCluster {name} in namespace {namespace}.",
        remedy="Create it, or ask for a rebalance of another one.",
    )


async def _alter(admin: KafkaAdmin, changes: Changes) -> None:
    check_results(await admin.alter_settings(changes.topics, changes.brokers), but=_GONE)


def _part(batch: Batch, look: Look, hops: Sequence[Hop], *, back: bool = False) -> tuple[Hop, ...]:
    """What of these may be copied at the same time, by who leads them now; `back`: from `after` to `before`."""
    if batch.per_broker is None:
        return tuple(hops)
    ways = {hop.id: replace(hop, before=hop.after, after=hop.before) if back else hop for hop in hops}
    chosen = at_once(ways.values(), look.leaders(hops), batch.per_broker)
    return tuple(hop for hop in hops if ways[hop.id] in chosen)


def _on_the_way(look: Look, hops: Iterable[Hop]) -> list[Hop]:
    return [hop for hop in hops if look.standing(hop) in (Standing.MOVING, Standing.RETURNING)]


def _is_away(look: Look, hop: Hop) -> bool:
    """Whether it is on other brokers than before."""
    partition = look.partitions.get(hop.id)
    return partition is not None and frozenset(partition.replicas) != frozenset(hop.before)


def _disordered(look: Look, elsewhere: Iterable[Hop]) -> tuple[list[Hop], list[Hop]]:
    """(those on their old brokers in another order, those that are somewhere else)."""
    disordered: list[Hop] = []
    left: list[Hop] = []
    for hop in elsewhere:
        partition = look.partitions.get(hop.id)
        at_home = hop.id not in look.in_flight and partition is not None
        same = at_home and partition is not None and frozenset(partition.replicas) == frozenset(hop.before)
        (disordered if same else left).append(hop)
    return disordered, left


def _absent(brokers: Sequence[int]) -> Check:
    return Check(
        "BrokerNotRegistered",
        ok=False,
        evidence=f"Replicas are to go to brokers that are not up: {listing(brokers)}.",
        remedy="Bring them back; it goes on by itself.",
    )


def _offline(partitions: Sequence[TopicPartition]) -> Check:
    return Check(
        "PartitionsOffline",
        ok=False,
        evidence=f"Nobody is left to copy from: {len(partitions)} partitions have no leader: {listing(partitions)}.",
        remedy="Bring the brokers of their replicas back.",
    )


def _short(partitions: Sequence[TopicPartition]) -> Check:
    return Check(
        "UnderMinIsr",
        ok=False,
        evidence=f"Of the replicas that {len(partitions)} partitions are to keep, fewer are in sync than min ISR: "
        f"{listing(partitions)}.",
        remedy="Wait for them to catch up, or bring the brokers back.",
    )
