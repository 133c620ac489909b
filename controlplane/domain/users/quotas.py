"""Quotas of one user: layers over one another, of which the least of each counts, and the difference to Kafka's.

kfleet is the one writer of a key that any layer has: what another sets there is put back. Keys that no layer has, and
none had before, are another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.api.kafka_user import Quotas
from controlplane.api.quantity import parse_bytes, parse_quantity

PRODUCER, CONSUMER = "producer_byte_rate", "consumer_byte_rate"
REQUEST, MUTATION = "request_percentage", "controller_mutation_rate"
"""Kafka's keys (org.apache.kafka.server.config.QuotaConfig)."""
DECLARED = "declared"
"""The layer of the user's own object."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Quotas by Kafka's key, from one source. Removing a layer restores what the others say."""

    name: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """`changes` by key, None removes it. `owned` is to be recorded before them.

    `drifted` are keys of ours that somebody else changed; they are among `changes`.
    """

    changes: Mapping[str, float | None] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    drifted: tuple[str, ...] = ()
    owned: Mapping[str, float] = field(default_factory=dict)


def declared(quotas: Quotas) -> Layer:
    """Byte rates in whole bytes, as Kafka takes them; the others may have fractions."""
    values: dict[str, float] = {}
    for key, text in ((PRODUCER, quotas.producer_byte_rate), (CONSUMER, quotas.consumer_byte_rate)):
        if text is not None:
            values[key] = float(parse_bytes(text))
    for key, text in ((REQUEST, quotas.request_percentage), (MUTATION, quotas.controller_mutation_rate)):
        if text is not None:
            values[key] = float(parse_quantity(text))
    return Layer(DECLARED, values)


def effective(layers: Iterable[Layer]) -> dict[str, float]:
    """The least of each key."""
    found: dict[str, float] = {}
    for layer in layers:
        for key, value in layer.values.items():
            found[key] = min(value, found.get(key, value))
    return dict(sorted(found.items()))


def plan_quotas(
    wanted: Mapping[str, float], owned: Mapping[str, float], observed: Mapping[str, float], *, exclusive: bool
) -> QuotaPlan:
    """`observed` are this user's; `owned` what kfleet had set before, by key."""
    changes: dict[str, float | None] = {
        key: value for key, value in sorted(wanted.items()) if observed.get(key) != value
    }
    changes |= {key: None for key in sorted(owned) if key in observed and key not in wanted}
    foreign = tuple(sorted(observed.keys() - wanted.keys() - owned.keys()))
    if exclusive:
        changes |= dict.fromkeys(foreign)
    still_to_remove = {key: owned[key] for key in owned if key in observed and key not in wanted}
    return QuotaPlan(
        changes=changes,
        foreign=() if exclusive else foreign,
        drifted=tuple(key for key in changes if key in wanted and owned.get(key) == wanted[key]),
        owned={**still_to_remove, **wanted},
    )


def replace_values(
    old: Mapping[str, float], new: Mapping[str, float], owned: Mapping[str, float], observed: Mapping[str, float]
) -> QuotaPlan:
    """What still is as in `old` becomes as in `new`, where that has no such key nothing; all else stays. Of the keys of
    `old` those that are gone are not ours any more."""
    theirs = [key for key in sorted(old) if observed.get(key) == old[key] != new.get(key)]
    ours = {key: value for key, value in owned.items() if key not in old or key in new or key in observed}
    return QuotaPlan(
        changes={key: new.get(key) for key in theirs}, owned=ours | {key: new[key] for key in theirs if key in new}
    )


def to_texts(values: Mapping[str, float]) -> dict[str, str]:
    return {key: number_text(value) for key, value in sorted(values.items())}


def from_texts(texts: Mapping[str, str]) -> dict[str, float]:
    """The inverse of `to_texts`; what is no number reads as 0, which no quota of ours is: its key is still known."""
    found = {}
    for key, text in texts.items():
        try:
            found[key] = float(text)
        except ValueError:
            found[key] = 0.0
    return found


def number_text(value: float) -> str:
    """Shortest text that reads back as the same number."""
    return str(int(value)) if value.is_integer() else repr(value)
