"""One tenant while its cell is planned: what is recorded of it, what it has there, and why nothing of it may change."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controlplane.api import names
from controlplane.api.conditions import seconds
from controlplane.api.duration import parse_seconds
from controlplane.api.kafka_tenant import KafkaTenant, TenantCellStatus
from controlplane.domain.check import Check
from controlplane.domain.placement.values import BadInputError, DoesNotFitError, Fleet, Shard, ShardRule
from controlplane.domain.rebalance.asked import MoveState
from controlplane.domain.tenants import directory as of
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.ranges import read_ranges
from controlplane.domain.tenants.usage import Holdings
from controlplane.domain.tenants.values import CellView, Move


@dataclass
class Member:
    """One tenant while its cell is planned.

    `settled` is the shard that it has or is moving to; `away` since when brokers of it are down (seconds since the
    epoch); `known` are brokers that its shard was chosen among; `problem` is why nothing of it may change.
    """

    tenant: KafkaTenant
    record: TenantCellStatus | None
    holds: Holdings
    named: bool
    rule: ShardRule | None
    settled: Shard
    away: dict[int, float]
    known: frozenset[int]
    moves: tuple[Move, ...]
    """Those that were made for it here."""
    move: Move | None
    """The one that its record tells of."""
    problem: Check | None = None
    wanted: Shard | None = None
    """The shard that a person asks for."""
    held_back: bool = False
    """Nothing of it changes in this pass."""
    changed: bool = False
    """Its shard has got another broker already."""

    @property
    def name(self) -> str:
        return self.tenant.metadata.name

    @property
    def stays(self) -> bool:
        return self.held_back or self.problem is not None

    @staticmethod
    def of(
        directory: Directory,
        tenant: KafkaTenant,
        view: CellView,
        holds: Holdings,
        *,
        moves: tuple[Move, ...],
        now: float,
    ) -> Member:
        record, named = of.cell_status(tenant, view.cell), of.names(tenant, view.cell)
        spec = tenant.spec.shard
        rule, problem = None, None
        try:
            rule = ShardRule(spec.size, spec.max_overlap)
        except BadInputError as error:
            field_ = "size" if error.field == "shard size" else "maxOverlap"
            problem = Check("InvalidSpec", ok=False, evidence=f"spec.shard.{field_}: {error}.")
        if conflicts := directory.conflicts(tenant):
            problem = conflicts[0]
        settled = tuple(sorted((record.target or record.shard) if record is not None else ()))
        move = view.moves.get(record.rebalance) if record is not None and record.rebalance else None
        if move is not None and move.state is MoveState.FAILED and record is not None:
            settled = tuple(sorted(record.previous or settled))
        replicas, topic = holds.replicas
        if problem is None and replicas > spec.size:
            problem = Check(
                "ShardTooSmall",
                ok=False,
                evidence=f"spec.shard.size: {spec.size}, and topic {topic!r} has {replicas} replicas: "
                f"{replicas - spec.size} too few.",
                remedy="Give it fewer replicas (a KafkaRebalance with goal ChangeReplicas), or enlarge the shard.",
            )
        member = Member(
            tenant=tenant,
            record=record,
            holds=holds,
            named=named,
            rule=rule,
            settled=settled,
            away=_away(record, view, now),
            known=frozenset(read_ranges(record.brokers)) if record is not None else frozenset(),
            moves=moves,
            move=move,
            problem=problem,
        )
        member.ask(tenant.metadata.annotations.get(names.SHARD))
        paused = tenant.metadata.annotations.get(names.PAUSED) == "true"
        member.held_back = not named or paused or (move is not None and member.is_held_by(move))
        return member

    def ask(self, text: str | None) -> None:
        if text is None:
            return
        if not re.fullmatch(r"[0-9]{1,10}(,[0-9]{1,10})*", text):
            self.problem = self.problem or Check(
                "InvalidSpec",
                ok=False,
                evidence=f"metadata.annotations[{names.SHARD}]: {text[:64]!r} is no list of ids of brokers.",
                remedy="Write them as 1,4,7, or take the annotation away.",
            )
            return
        self.wanted = tuple(sorted({int(one) for one in text.split(",")}))

    def is_held_by(self, move: Move) -> bool:
        if move.state is MoveState.FAILED:
            return move.generation == self.tenant.metadata.generation
        return move.state is MoveState.UNDER_WAY

    def overdue(self, fleet: Fleet, now: float) -> list[int]:
        """Brokers of its shard that are to be replaced: those that have gone, and those that were down for long."""
        delay = parse_seconds(self.tenant.spec.shard.replacement_delay)
        return [
            broker
            for broker in self.settled
            if broker not in fleet.by_id or (broker in self.away and now - self.away[broker] >= delay)
        ]

    def next_due(self, now: float) -> float | None:
        delay = parse_seconds(self.tenant.spec.shard.replacement_delay)
        due = [since + delay for broker, since in self.away.items() if broker in self.settled]
        return min((at for at in due if at > now), default=None)


def _away(record: TenantCellStatus | None, view: CellView, now: float) -> dict[int, float]:
    """Since when brokers of the shard have been seen down: what the record says, else from now on."""
    if record is None:
        return {}
    since = {one.broker: seconds(one.since) for one in record.away}
    return {broker: since.get(broker, now) for broker in sorted(record.shard) if broker in view.down}


def unfit(member: Member, error: DoesNotFitError | BadInputError) -> Check:
    return Check(
        "ShardDoesNotFit",
        ok=False,
        evidence=f"spec.shard.size: {error}.",
        remedy=f"Make the shard of {member.name} smaller, or give the cluster more brokers there.",
    )
