"""What clients feel of an upgrade, against what they felt before it. Pure.

Two witnesses: the operator's own canary (produce requests with acks=all to one partition a broker) and the lag of the
cluster's consumer groups. Both are compared with a level learned on the same cluster just before the first stop, never
with a figure that some other cluster would call good. A check that cannot be made (nothing observed, no level, too few
probes) holds: what is not known is no fault. A failed check is no verdict either: whoever asks lets it last first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s

from controlplane.domain.check import Check
from controlplane.domain.observation import CanaryObservation, ClientObservation, GroupObservation
from controlplane.domain.rolling.health import listing

LEARN_ATTEMPTS = 20
"""Probes before a level is one: with fewer, one hiccup is the median of a broker, or half of it."""
LEARN_SECONDS = 30.0
"""How long clients have to be watched before; six looks at every group's lag. A shorter time (KFLEET_LEARN_SECONDS)
asks for as much evidence: who has not given it by the end is not judged."""
LEARN_LONGEST_SECONDS = 60.0
"""After this the upgrade begins without a level."""
LEARN_LOOKS = 3
"""Looks at a group's lag below which nobody knows how fast it grows by itself."""
JUDGED_ATTEMPTS = 10
"""Probes of a window, or of one broker in it, below which it is not judged."""

ERRORS_FLOOR = 3
"""Failed probes of a window that prove nothing. A probe is given `canary.DEADLINE_SECONDS` (ten) and retried within
them, several times the worst stall of a healthy restart (facts.md: 2.2 s), so that each error is an outage for some
partition; a lost connection of our own can still fail one round. A number and not a share: one dead partition of a
thousand is as dead."""
ERRORS_FACTOR = 2.0

SLOW_FACTOR = 3.0
MEDIAN_FLOOR_SECONDS = 0.05
"""A broker is slow when half its probes take three times as long as on the slowest broker before, and 50 ms more. Up to
half of a window may be stalls of a restart without moving the median; the floor keeps a change from 2 to 8 ms, which
cold page caches and a JIT that has just begun explain, from counting."""
TAIL_FLOOR_SECONDS = 2.5
"""The p99 alone has to be three times the one before and 2.5 s more. A healthy restart stalls a partition for 0.3 to
2.2 s (facts.md, "A hand-made roll") and every node has one, so that in a roll the p99 is always one of those."""

LAG_FLOOR_RECORDS = 1_000
LAG_FACTOR = 2.0
LAG_SAMPLES = 6
LAG_SECONDS = 50.0
"""A window of lag that may be judged: longer than a rebalance that waits for a member's session to end (45 s by
default, group.consumer.session.timeout.ms and session.timeout.ms), during which every group's lag grows."""

LEVEL_GROUPS = 20
LEVEL_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Learning:
    """How long the level before is learned, in seconds: at least `seconds`, and not beyond `longest`."""

    seconds: float = LEARN_SECONDS
    longest: float = LEARN_LONGEST_SECONDS


@dataclass(frozen=True, slots=True)
class GroupLevel:
    """`lag` in records, and by how many a second it grew while the level was learned (negative: it caught up)."""

    lag: int
    growth: float


@dataclass(frozen=True, slots=True)
class ClientLevel:
    """The level before the first stop; it goes into the status as `dump()` and comes back by `load`.

    Latencies are seconds, None where there was no canary; `slowest` is the median of the broker with the highest one.
    `error_share` is of all probes. `groups` are the `LEVEL_GROUPS` with the most lag, by `group_key`; `others` is the
    most that any group beyond them had, None where there was none: a group not known is then a new one and not judged.
    """

    p50: float | None = None
    p99: float | None = None
    slowest: float | None = None
    error_share: float = 0.0
    groups: Mapping[str, GroupLevel] = field(default_factory=dict)
    others: int | None = None

    @staticmethod
    def learn(clients: ClientObservation | None, seconds: float = LEARN_SECONDS) -> ClientLevel | None:
        """None until enough was seen, over at least `seconds`. Only of a time in which no node was stopped."""
        if clients is None or clients.watched_seconds < seconds:
            return None
        canary = clients.canary
        if canary is not None and canary.attempts < LEARN_ATTEMPTS:
            return None
        known = (group for group in clients.groups or () if len(group.lags) >= LEARN_LOOKS)
        groups = sorted(known, key=lambda group: (-group.lag, group.group))
        rest = groups[LEVEL_GROUPS:]
        return ClientLevel(
            p50=_rounded(canary.p50) if canary else None,
            p99=_rounded(canary.p99) if canary else None,
            slowest=_rounded(_slowest(canary)) if canary else None,
            error_share=round(canary.errors / canary.attempts, 4) if canary else 0.0,
            groups={
                group_key(group.group): GroupLevel(group.lag, float(f"{_growth(group):.3g}"))
                for group in groups[:LEVEL_GROUPS]
            },
            others=rest[0].lag if rest else (0 if groups and clients.groups_left_out else None),
        )

    def dump(self) -> str:
        """At most `LEVEL_CHARACTERS`; `ClientLevel.load(level.dump()) == level` for a level that was learned."""
        return json.dumps(
            {
                "latency": [self.p50, self.p99, self.slowest],
                "errors": self.error_share,
                "others": self.others,
                "groups": {key: [group.lag, group.growth] for key, group in self.groups.items()},
            },
            separators=(",", ":"),
        )

    @staticmethod
    def load(text: str) -> ClientLevel | None:
        """None for a text that is not a level: nothing is compared with it then."""
        try:
            found = json.loads(text)
            p50, p99, slowest = (None if value is None else float(value) for value in found["latency"])
            return ClientLevel(
                p50=p50,
                p99=p99,
                slowest=slowest,
                error_share=float(found["errors"]),
                groups={
                    str(key): GroupLevel(int(lag), float(growth)) for key, (lag, growth) in found["groups"].items()
                },
                others=None if found["others"] is None else int(found["others"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def group_key(name: str) -> str:
    """Eight characters that stand for a group: names have up to 255, and a level has to fit into a status."""
    return blake2s(name.encode(), digest_size=4).hexdigest()


def client_checks(clients: ClientObservation | None, level: ClientLevel | None) -> tuple[Check, ...]:
    """CanaryErrors, CanarySlow, ConsumerLagGrows: each once, failed or not. () where there is nothing to compare."""
    if clients is None or level is None:
        return ()
    checks = []
    if clients.canary is not None and level.p50 is not None:
        checks += [_errors(clients.canary, level), _slow(clients.canary, level)]
    if clients.groups is not None:
        checks.append(_lag(clients.groups, level))
    return tuple(checks)


def _errors(canary: CanaryObservation, level: ClientLevel) -> Check:
    evidence = (
        f"{canary.errors} of the canary's last {canary.attempts} writes failed ({level.error_share:.1%} before the "
        "upgrade)"
    )
    if not _fails(canary.errors, canary.attempts, level):
        return Check("CanaryErrors", ok=True, evidence=f"{evidence}.")
    where = [one.broker for one in canary.brokers if _fails(one.errors, one.attempts, level)]
    return Check(
        "CanaryErrors",
        ok=False,
        evidence=evidence
        + (f", those led by broker {listing(where)}" if where else "")
        + (f": {canary.last_error}." if canary.last_error else "."),
        remedy="Other clients' acks=all writes fail as well; see the logs of the brokers that were upgraded.",
    )


def _fails(errors: int, attempts: int, level: ClientLevel) -> bool:
    return attempts >= JUDGED_ATTEMPTS and errors > max(ERRORS_FLOOR, ERRORS_FACTOR * level.error_share * attempts)


def _slow(canary: CanaryObservation, level: ClientLevel) -> Check:
    slow = list(_slow_brokers(canary, level))
    tail = _exceeds(canary.p99, level.p99, TAIL_FLOOR_SECONDS) and canary.attempts >= JUDGED_ATTEMPTS
    evidence = (
        f"The canary's writes take {_ms(canary.p50)} (p99 {_ms(canary.p99)}; before the upgrade {_ms(level.p50)}, p99 "
        f"{_ms(level.p99)})"
    )
    if not slow and not tail:
        return Check("CanarySlow", ok=True, evidence=f"{evidence}.")
    where = listing(f"{broker}: {_ms(median)}" for broker, median in slow)
    return Check(
        "CanarySlow",
        ok=False,
        evidence=evidence + (f"; slow with leader {where}." if slow else "."),
        remedy="Look at the disks and logs of these brokers and of the followers that their acks=all writes wait for.",
    )


def _slow_brokers(canary: CanaryObservation, level: ClientLevel) -> Iterator[tuple[int, float]]:
    for one in canary.brokers:
        if one.attempts >= JUDGED_ATTEMPTS and _exceeds(one.p50, level.slowest, MEDIAN_FLOOR_SECONDS):
            yield one.broker, one.p50 or 0.0


def _exceeds(now: float | None, before: float | None, floor: float) -> bool:
    return now is not None and before is not None and now > SLOW_FACTOR * before and now > before + floor


def _lag(groups: tuple[GroupObservation, ...], level: ClientLevel) -> Check:
    growing = [group for group in groups if _lags(group, level)]
    if not growing:
        return Check("ConsumerLagGrows", ok=True, evidence=f"No lag of {len(groups)} consumer groups grows.")
    named = listing(f"{group.group} from {group.lags[0]} to {group.lag}" for group in growing)
    return Check(
        "ConsumerLagGrows",
        ok=False,
        evidence=f"The lag of {len(growing)} consumer groups has grown since the upgrade began, over the last "
        f"{max(group.seconds for group in growing):.0f} s: {named} records.",
        remedy="See the logs of these consumers: whether they still fetch and commit, and what the brokers answer.",
    )


def _lags(group: GroupObservation, level: ClientLevel) -> bool:
    """Every look in the newer half of the window is above every look in the older half; and the lag is well above what
    it was, and grows well faster than it did. One recovering moment ends it, a spike never begins it."""
    if len(group.lags) < LAG_SAMPLES or group.seconds < LAG_SECONDS:
        return False
    before = level.groups.get(group_key(group.group))
    if before is None:
        if level.others is None:
            return False
        before = GroupLevel(level.others, 0.0)
    half = len(group.lags) // 2
    grows = max(group.lags[:half]) < min(group.lags[half:])
    much = group.lag > before.lag * LAG_FACTOR and group.lag > before.lag + LAG_FLOOR_RECORDS
    return grows and much and _growth(group) > max(0.0, before.growth) * LAG_FACTOR


def _growth(group: GroupObservation) -> float:
    """Records a second over its window."""
    return (group.lag - group.lags[0]) / group.seconds if group.seconds > 0 else 0.0


def _slowest(canary: CanaryObservation) -> float | None:
    return max((one.p50 for one in canary.brokers if one.p50 is not None), default=canary.p50)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _ms(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{seconds * 1000:.0f} ms"
