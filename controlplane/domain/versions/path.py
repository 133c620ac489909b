"""How a cluster gets from one version to another: hops of binaries, and what is finalised in between.

A hop is allowed when `can_roll_binary` allows it; after a hop upwards the release's metadata.version may be finalised,
never lowered. `find_path` is a breadth-first search over the known releases, so the path has the fewest hops.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from controlplane.domain.versions.checks import can_roll_binary, format_changed_between, known_versions, release


@dataclass(frozen=True, slots=True)
class Hop:
    """One roll of every node from `start` to `end`; levels are of metadata.version before and after its finalisation.

    `no_return`: what is finalised at its end changed the metadata format.
    """

    start: str
    end: str
    level_before: int
    level_after: int

    @property
    def no_return(self) -> bool:
        return self.level_after > self.level_before and format_changed_between(self.level_before, self.level_after)


def find_path(running: str, target: str, level: int, *, pin: int | None = None) -> tuple[Hop, ...] | None:
    """The shortest path; () when `running` is the target and nothing is to be finalised, None when there is none.

    `level` is finalised now; `pin` holds what the last hop finalises. A hop that would need a level first which only
    the version that runs can be raised to begins with finalising it there (start == end). Raises UnknownVersionError
    for an unknown target.
    """
    last = release(target).metadata_level if pin is None else min(pin, release(target).metadata_level)
    if running == target:
        return (Hop(target, target, level, last),) if last > level else ()
    begin = (running, level)
    came: dict[tuple[str, int], tuple[str, int] | None] = {begin: None}
    queue = deque([begin])
    while queue:
        version, at = here = queue.popleft()
        if version == target:
            return _hops(came, here, last)
        raised = release(version).metadata_level if version in known_versions() else at
        # Without finalising first, then (a level may be missing that the next version begins at) with it.
        for now in dict.fromkeys((at, max(at, raised))):
            for following in _order(target):
                state = (following, now)
                if following != version and state not in came and can_roll_binary(version, following, now).ok:
                    came[state] = here
                    queue.append(state)
    return None


def _order(target: str) -> tuple[str, ...]:
    """The target first, then the newest: of paths of one length the one that stays on new releases."""
    return (target, *(version for version in reversed(known_versions()) if version != target))


def _hops(came: dict[tuple[str, int], tuple[str, int] | None], end: tuple[str, int], last: int) -> tuple[Hop, ...]:
    states = [end]
    while (before := came[states[0]]) is not None:
        states.insert(0, before)
    hops: list[Hop] = []
    for (start, low), (stop, high) in pairwise(states):
        if high > low:  # raised on the version that ran before, or at the end of the hop that led to it
            if hops:
                hops[-1] = Hop(hops[-1].start, hops[-1].end, hops[-1].level_before, high)
            else:
                hops.append(Hop(start, start, low, high))
        hops.append(Hop(start, stop, high, high))
    final = hops[-1]
    hops[-1] = Hop(final.start, final.end, final.level_before, max(final.level_before, last))
    return tuple(hops)
