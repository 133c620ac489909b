"""A proposal as the steps of a frozen plan, and a step's parameters back as values. Pure.

A batch that copies replicas is a bracket of three steps: SetThrottle, MoveReplicas, LiftThrottle. It begins where the
plan's gates let it and is then finished or undone, never left half way: nothing stays throttled while the operation
waits. Batches that only change the order of replicas are one step, OrderReplicas. In the end ElectLeaders.

A step's parameters hold 32 texts of 1024 characters, so hops and what else is long are packed into numbered ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.api.operation import OperationStep
from controlplane.domain.operation.verb import Traits, step_of
from controlplane.domain.rebalance.hops import Hop
from controlplane.domain.rebalance.throttle import Throttle

SET_THROTTLE = "SetThrottle"
MOVE_REPLICAS = "MoveReplicas"
LIFT_THROTTLE = "LiftThrottle"
RESTORE_THROTTLE = "RestoreThrottle"
MOVE_BACK = "MoveBack"
ORDER_REPLICAS = "OrderReplicas"
ELECT_LEADERS = "ElectLeaders"

TRAITS: Mapping[str, Traits] = {
    SET_THROTTLE: Traits(inverse=LIFT_THROTTLE),
    MOVE_REPLICAS: Traits(risk="Disruptive", inverse=MOVE_BACK, urgent=True),
    LIFT_THROTTLE: Traits(inverse=RESTORE_THROTTLE, urgent=True),
    RESTORE_THROTTLE: Traits(),
    MOVE_BACK: Traits(risk="Disruptive"),
    ORDER_REPLICAS: Traits(risk="Disruptive", inverse=MOVE_BACK),
    # What it leaves is undone by MoveBack, which lets the leaders of before lead again.
    ELECT_LEADERS: Traits(),
}
"""MoveReplicas and LiftThrottle finish what SetThrottle began: neither a pause nor a gate comes between them."""

CLUSTER, RATE, PER_BROKER = "cluster", "rate", "movesPerBroker"
_HOPS, _KEPT, _PARTITIONS = "m", "k", "p"
_CHARACTERS, _PACKS = 1024, 28
_HOP = re.compile(r"^(?P<topic>[a-zA-Z0-9._-]{1,249})-(?P<partition>[0-9]+):(?P<before>[0-9,]+)>(?P<after>[0-9,]+)$")


class TooLargeError(ValueError):
    """What a step has to know does not fit into its parameters."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step is about, read from its parameters. `throttle` is None where nothing is copied. `per_broker`: copies
    that a broker has to do with at the same time; None in plans that did not say."""

    cluster: str
    hops: tuple[Hop, ...]
    throttle: Throttle | None
    per_broker: int | None = None


def steps(
    cluster: str,
    batches: Sequence[tuple[Hop, ...]],
    rate: int,
    kept: Callable[[Sequence[Hop]], frozenset[str]],
    *,
    per_broker: int,
) -> tuple[OperationStep, ...]:
    """`cluster` is namespace/name; `kept` says what of a batch's throttle somebody else has set."""
    found: list[OperationStep] = []

    def add(verb: str, target: str, why: str, **parameters: str) -> None:
        found.append(step_of(len(found) + 1, verb, TRAITS[verb], target=target, why=why, cluster=cluster, **parameters))

    pieces = [piece for batch in batches for piece in _fitting(batch)]
    for number, batch in enumerate(pieces, start=1):
        target, moved = f"{number}/{len(pieces)}", packed(_HOPS, map(_text, batch))
        if all(hop.only_order for hop in batch):
            add(ORDER_REPLICAS, target, f"another order for {_count(len(batch), 'partition')}, no data moves", **moved)
            continue
        limits = {RATE: str(rate)} | packed(_KEPT, sorted(kept(batch)), _PACKS - len(moved))
        add(SET_THROTTLE, target, f"{human(rate)}/s a broker for what is copied", **moved, **limits)
        add(MOVE_REPLICAS, target, _words(batch), **moved, **{PER_BROKER: str(per_broker)})
        add(LIFT_THROTTLE, target, "it is copied", **moved, **limits)
    last = {hop.id: hop for batch in batches for hop in batch}
    for number, some in enumerate(_chunks(map(_text, (last[one] for one in sorted(last)))), start=1):
        add(ELECT_LEADERS, str(number), f"preferred leaders of {_count(len(some), 'partition')}", **packed(_HOPS, some))
    return tuple(found)


def batch_of(step: OperationStep) -> Batch:
    """Raises ValueError for parameters that `steps` did not write."""
    parameters = step.parameters
    hops = tuple(_hop(text) for text in unpacked(_HOPS, parameters))
    rate = parameters.get(RATE)
    kept = frozenset(unpacked(_KEPT, parameters))
    throttle = Throttle(hops, int(rate), kept) if rate is not None else None
    return Batch(parameters[CLUSTER], hops, throttle, int(parameters.get(PER_BROKER, 0)) or None)


def copies(step: OperationStep) -> int:
    """Replicas that the step copies."""
    if step.verb not in (MOVE_REPLICAS, MOVE_BACK):
        return 0
    return sum(len(hop.adding) for hop in batch_of(step).hops)


def packed(name: str, texts: Iterable[str], limit: int = _PACKS) -> dict[str, str]:
    """Parameters `name00`, `name01`, ... of texts without spaces. Raises TooLargeError."""
    packs: list[str] = []
    for text in texts:
        if packs and len(packs[-1]) + 1 + len(text) <= _CHARACTERS:
            packs[-1] += f" {text}"
        elif len(text) <= _CHARACTERS:
            packs.append(text)
        else:
            raise TooLargeError(f"{text[:64]}... has {len(text)} characters")
    if len(packs) > limit:
        raise TooLargeError(f"{len(packs)} times {_CHARACTERS} characters for {limit}")
    return {f"{name}{number:02}": pack for number, pack in enumerate(packs)}


def unpacked(name: str, parameters: Mapping[str, str]) -> list[str]:
    keys = sorted(key for key in parameters if re.fullmatch(f"{name}[0-9]+", key))
    return [text for key in keys for text in parameters[key].split(" ")]


def human(size: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _fitting(batch: tuple[Hop, ...]) -> Iterator[tuple[Hop, ...]]:
    """The batch, cut where long names make it too large for a step. Half of the room is for what is kept."""
    by_text = {_text(hop): hop for hop in batch}
    for some in _chunks(by_text, _PACKS // 2):
        yield tuple(by_text[text] for text in some)


def _chunks(texts: Iterable[str], limit: int = _PACKS) -> Iterator[list[str]]:
    """Runs of texts that fit into a step's parameters whatever their lengths."""
    run: list[str] = []
    size = 0
    for text in texts:
        if run and size + len(text) + 1 > limit * _CHARACTERS // 2:
            yield run
            run, size = [], 0
        run.append(text)
        size += len(text) + 1
    if run:
        yield run


def _text(hop: Hop) -> str:
    return f"{hop.id}:{_brokers(hop.before)}>{_brokers(hop.after)}"


def _hop(text: str) -> Hop:
    found = _HOP.fullmatch(text)
    if found is None:
        raise ValueError(f"not a move: {text[:64]}")
    before, after = (tuple(map(int, found[side].split(","))) for side in ("before", "after"))
    return Hop(found["topic"], int(found["partition"]), before, after)


def _brokers(brokers: Iterable[int]) -> str:
    return ",".join(map(str, brokers))


def _words(batch: Sequence[Hop]) -> str:
    copied = sum(len(hop.adding) for hop in batch)
    size = sum(hop.size * len(hop.adding) for hop in batch)
    if not copied:
        return f"fewer replicas for {_count(len(batch), 'partition')}, no data moves"
    return f"{_count(copied, 'replica')} copied, {human(size)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
