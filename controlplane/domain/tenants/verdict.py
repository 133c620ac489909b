"""How a tenant stands in a cell, in words: a check that holds once its shard is in effect and as declared. Pure."""

from __future__ import annotations

from controlplane.api import names
from controlplane.domain.check import Check
from controlplane.domain.placement.occupancy import Held
from controlplane.domain.rolling.health import listing
from controlplane.domain.tenants.member import Member
from controlplane.domain.tenants.values import CellView


def waiting(member: Member) -> Check:
    """Why a tenant has no shard here."""
    if member.problem is not None:
        return member.problem
    if not member.named:
        return _left(member)
    return Check(
        "Paused",
        ok=False,
        evidence=f"It is paused ({names.PAUSED}) and has no shard yet.",
        remedy="Take the annotation away.",
    )


def _left(member: Member) -> Check:
    return Check(
        "LeftWithTopics",
        ok=False,
        evidence=f"spec.cells does not name it any more, and {len(member.holds.topics)} topics with the prefix "
        f"{member.tenant.spec.topic_prefix!r} are still there.",
        remedy="They stay where they are, and so does the shard; delete them, or name the cell again.",
    )


def verdict(
    member: Member,
    view: CellView,
    held: Held,
    move: str | None,
    *,
    overlap: int,
    halted: bool,
    waits: bool,
    moving: bool,
) -> Check:
    """`waits`: it is not as declared, and nobody does anything about it."""
    where = f"brokers {listing(held.shard)}"
    if member.problem is not None:
        return member.problem
    if not member.named:
        return _left(member)
    if halted and member.move is not None:
        return Check(
            "MoveFailed",
            ok=False,
            evidence=f"It stays on {where}: KafkaRebalance {move} ended as {member.move.reason}: {member.move.message}",
            remedy="Delete that KafkaRebalance to have the move tried again, or change spec.shard.",
        )
    if move is not None and move in view.refused:
        return Check(
            "MoveRefused",
            ok=False,
            evidence=f"KafkaRebalance {move}, which is to move its topics to {where}, could not be created: "
            f"{view.refused[move]}",
            remedy="It is tried again.",
        )
    if moving:
        return _moving(view, held, move)
    if member.held_back and waits:
        return Check(
            "Paused",
            ok=False,
            evidence=f"It is paused ({names.PAUSED}) and stays on {where}, which is not what is declared.",
            remedy="Take the annotation away.",
        )
    allowed = held.rule.max_overlap
    if overlap > allowed:
        return Check(
            "OverlapExceeded",
            ok=True,
            evidence=f"It is on {where} and shares {overlap} of them with another tenant: "
            f"{overlap - allowed} more than spec.shard.maxOverlap.",
            remedy=f"kfleet tenant repack {view.cell} shows whether another assignment would do better.",
        )
    return Check("Placed", ok=True, evidence=f"It is on {where}.")


def _moving(view: CellView, held: Held, move: str | None) -> Check:
    words = f"Its topics move to brokers {listing(held.shard)}; until then the old ones are allowed too"
    if move is None:
        return Check(
            "Moving",
            ok=False,
            evidence=f"{words}. It is paused ({names.PAUSED}), and nothing is moved.",
            remedy="Take the annotation away.",
        )
    there = view.moves.get(move)
    state = f" ({there.reason})" if there is not None and there.reason else ""
    return Check(
        "Moving",
        ok=False,
        evidence=f"{words}. KafkaRebalance {move}{state} does it.",
        remedy=f"Follow it with kfleet op watch kafkarebalance/{move}; delete it to have it planned anew.",
    )
