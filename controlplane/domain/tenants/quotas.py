"""A tenant's quotas in Kafka's world, where each broker counts each principal by itself (KIP-13, 124, 599). Pure.

What a tenant may take as a whole is divided so that all its users, each at its limit on each broker that serves them,
take no more than that together:

- Byte rates by users and by the brokers that lead partitions of the tenant: a client writes to leaders and reads from
  them. Where brokers choose the replica that a client reads from (KIP-392), every replica's broker counts.
- Request percentage is meant for each broker already, and controller mutations are counted by the one active
  controller: both are divided by users alone.

Values are rounded down, byte rates to whole bytes, which is what Kafka takes. One byte a second is the least that it
takes: a tenant with fewer bytes than users on brokers gets more than was said, and no other does.

Clients are not equally busy, so that a tenant usually takes less than it may. Kafka has no quota over several
principals or brokers; this is what can be promised without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from controlplane.api.kafka_tenant import TenantQuotas
from controlplane.api.quantity import parse_bytes
from controlplane.domain.observation import PartitionPlace
from controlplane.domain.users.quotas import CONSUMER, MUTATION, PRODUCER, REQUEST

BYTE_RATES = frozenset({PRODUCER, CONSUMER})
PARTS = 10**6
"""Of one: quotas that are not bytes are rounded down to these."""
RELAX_SECONDS = 600.0
"""How long fewer brokers or users have to be seen before the others get more: a roll, or a user that comes and goes,
does not change everybody's quotas twice."""


@dataclass(frozen=True, slots=True)
class Division:
    """By what a tenant's quotas are divided in one cell; each at least 1."""

    brokers: int = 1
    users: int = 1


def whole(quotas: TenantQuotas) -> dict[str, float]:
    """What a tenant may take, by Kafka's key."""
    found: dict[str, float] = {}
    for key, text in ((PRODUCER, quotas.produce_bytes_per_second), (CONSUMER, quotas.consume_bytes_per_second)):
        if text is not None:
            found[key] = float(parse_bytes(text))
    for key, number in ((REQUEST, quotas.request_percentage), (MUTATION, quotas.controller_mutation_rate)):
        if number is not None:
            found[key] = float(number)
    return found


def divided(of_tenant: Mapping[str, float], by: Division) -> dict[str, float]:
    """What one user gets on one broker, by Kafka's key."""
    found = {}
    for key, value in sorted(of_tenant.items()):
        if key in BYTE_RATES:
            found[key] = float(max(1, int(value) // (by.brokers * by.users)))
        else:
            found[key] = max(1, int(Fraction(value) * PARTS / by.users)) / PARTS
    return found


def serving(places: Iterable[PartitionPlace], *, from_replicas: bool) -> int:
    """How many brokers clients of these partitions use at once, at most. `from_replicas`: brokers send clients to
    replicas (replica.selector.class).

    Leaders as they are, or as they shall be, whichever are more: while a broker is restarted its partitions are led by
    others for a moment, and nobody's quota changes for that.
    """
    leading, preferred, holding = set(), set(), set()
    for place in places:
        leading |= {place.leader} - {None}
        preferred |= set(place.replicas[:1])
        holding |= set(place.replicas)
    return max(len(leading), len(preferred), len(holding) if from_replicas else 0)


@dataclass(frozen=True, slots=True)
class Steady:
    """A number that things are divided by. It grows at once, so that nobody ever takes too much; it falls to the
    largest that was seen for RELAX_SECONDS on end. `since` is when less than `value` was seen first, None for not
    now."""

    value: int
    less: int = 0
    since: float | None = None


def steadied(held: Steady | None, seen: int, now: float) -> Steady:
    """`held` None: nothing is known of the past. Never less than `seen`, which counts as 1 at least."""
    seen = max(1, seen)
    if held is None or seen >= held.value:
        return Steady(seen)
    since = now if held.since is None else held.since
    less = max(seen, held.less if held.since is not None else 0)
    if now - since < RELAX_SECONDS:
        return Steady(held.value, less, since)
    return Steady(less) if less == seen else Steady(less, seen, now)
