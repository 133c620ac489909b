"""What is recorded of a tenant once its shard is chosen: where its topics lie decides what is in effect. Pure.

A shard moves in stages, each recorded before anything follows from it: `target` is set, and old and new brokers are
both allowed; its topics are moved by a KafkaRebalance; once none of its replicas lies anywhere else, the new ones alone
are. It never narrows on anybody's word, only when that is what is seen.
"""

from __future__ import annotations

import hashlib
import re

from controlplane.api.conditions import MESSAGE_LIMIT, timestamp
from controlplane.api.kafka_rebalance import MAX_TOPICS
from controlplane.api.kafka_tenant import BrokerAway, TenantCellKind, TenantCellStatus, TenantUsage
from controlplane.domain.check import Check
from controlplane.domain.placement import bounds
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import DoesNotFitError, Fleet, Shard, shape
from controlplane.domain.rebalance.asked import SETTLE_SECONDS, MoveState
from controlplane.domain.tenants import verdict
from controlplane.domain.tenants.member import Member
from controlplane.domain.tenants.ranges import write_ranges
from controlplane.domain.tenants.reshape import suits
from controlplane.domain.tenants.values import CellView, Move, MoveRequest, Outcome

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def outcome(member: Member, occupancy: Occupancy, view: CellView, least: dict[int, int], now: float) -> Outcome:
    held, record = occupancy.held.get(member.name), member.record
    usage = _usage(member, view)
    if not member.named and not usage.topics:
        return Outcome(None)
    if held is None:
        return Outcome(_status(member, view, usage, verdict.waiting(member), shard=()))
    outside = member.holds.outside(held.shard)
    under_way = member.move is not None and member.move.state is MoveState.UNDER_WAY
    failed = member.move is not None and member.move.state is MoveState.FAILED and member.is_held_by(member.move)
    wants = _wants_change(member, held.shard, outside, view, now)
    halted = failed and wants
    shard = set(held.shard) | (member.holds.brokers if outside else set())
    if (outside or under_way) and not halted and record is not None:
        shard |= set(record.shard)
    moving = shard != set(held.shard)
    create, name, look_at = None, None, member.next_due(now)
    if halted and record is not None:
        name = record.rebalance
    elif under_way and member.move is not None:
        name = member.move.name
    elif outside and not member.stays:
        name, create, settles = _next_move(member, view, held.shard, outside, now)
        look_at = min((at for at in (look_at, settles) if at is not None), default=None)
    overlap, gap = _overlap(held, occupancy, view.fleet, least)
    status = _status(
        member,
        view,
        usage,
        verdict.verdict(
            member, view, held, name, overlap=overlap, halted=halted, waits=wants, moving=moving or under_way
        ),
        shard=tuple(sorted(shard)),
        target=held.shard if moving else None,
        previous=_previous(member, held.shard, halted=halted) if moving else None,
        rebalance=name,
        overlap=overlap,
        gap=gap,
        away=_away_now(member, shard, view, now),
    )
    return Outcome(status, create, look_at)


def _usage(member: Member, view: CellView) -> TenantUsage:
    holds, before = member.holds, member.record.usage if member.record is not None else TenantUsage()
    storage = before.storage if view.sizes is None else holds.storage or 0
    return TenantUsage(topics=len(holds.topics), partitions=holds.partitions, storage=storage if holds.topics else 0)


def _wants_change(member: Member, shard: Shard, outside: tuple[str, ...], view: CellView, now: float) -> bool:
    """Whether something is still to be done."""
    try:
        suited = member.rule is not None and suits(view.fleet, shard, member.rule.size)
    except DoesNotFitError:
        suited = False
    asked = member.wanted is not None and member.wanted != shard
    return asked or bool(outside) or not suited or bool(member.overdue(view.fleet, now))


def _next_move(
    member: Member, view: CellView, shard: Shard, outside: tuple[str, ...], now: float
) -> tuple[str, MoveRequest | None, float | None]:
    """The KafkaRebalance for these topics: its name, what to create, and when to look whether it has settled."""
    tenant = member.tenant
    purpose = f"{tenant.metadata.uid}/{view.cell}/{tenant.metadata.generation}/{','.join(map(str, shard))}"
    stem = f"tenant-{member.name}-{hashlib.sha256(purpose.encode()).hexdigest()[:8]}"
    attempts = _attempts(member, stem)
    for _, there in sorted(attempts.items()):
        if there.state is MoveState.UNDER_WAY:
            return there.name, None, None
        if there.state is MoveState.COMPLETE and now < there.ended_at + SETTLE_SECONDS:
            return there.name, None, there.ended_at + SETTLE_SECONDS
    name = f"{stem}-{max(attempts, default=0) + 1}"
    request = MoveRequest(name, member.name, tenant.metadata.generation, shard, outside[:MAX_TOPICS])
    return name, request, None


def _attempts(member: Member, stem: str) -> dict[int, Move]:
    """By number, those that there are: the first ones may have been deleted."""
    numbers = ((move.name.removeprefix(f"{stem}-"), move) for move in member.moves)
    return {int(text): move for text, move in numbers if _NUMBER.fullmatch(text)}


def _previous(member: Member, shard: Shard, *, halted: bool) -> Shard:
    """What the shard goes back to when the move fails."""
    record = member.record
    if halted or record is None:
        return shard
    return tuple(sorted((record.previous or shard) if record.target is not None else record.shard))


def _overlap(held: Held, occupancy: Occupancy, fleet: Fleet, least: dict[int, int]) -> tuple[int, int]:
    """(brokers shared with whom it shares most, how many more that is than is proven to be needed)."""
    size = len(held.shard)
    worst = max(occupancy.shared(held.shard, held.tenant).values(), default=0)
    if size not in least:
        alike = sum(len(other.shard) == size for other in occupancy.held.values())
        try:
            least[size] = bounds.least_worst_overlap(shape(fleet, size), size, alike)
        except DoesNotFitError:
            least[size] = size
    return worst, max(0, worst - least[size])


def _away_now(member: Member, shard: set[int], view: CellView, now: float) -> tuple[BrokerAway, ...]:
    return tuple(
        BrokerAway(broker=broker, since=timestamp(member.away.get(broker, now))) for broker in sorted(shard & view.down)
    )


def _status(
    member: Member, view: CellView, usage: TenantUsage, verdict: Check, *, shard: Shard, **fields: object
) -> TenantCellStatus:
    record = member.record
    known = record.brokers if member.stays and record is not None else write_ranges(view.fleet.by_id)
    return TenantCellStatus.model_validate(
        {
            "kind": TenantCellKind.KAFKA_CLUSTER,
            "namespace": view.cell.namespace,
            "name": view.cell.name,
            "shard": shard,
            "brokers": known if shard else "",
            "usage": usage,
            "quota": record.quota if record is not None else None,
            "placed": verdict.ok,
            "reason": verdict.name,
            "message": " ".join(part for part in (verdict.evidence, verdict.remedy) if part)[:MESSAGE_LIMIT],
            **fields,
        }
    )
