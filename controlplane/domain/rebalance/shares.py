"""Each broker's fair share of a load, where racks and shards bound who can take what. Pure, exact fractions.

Where nothing bounds it the share is in proportion to the weight. Otherwise it is the weighted max-min fair one: no
share per weight can grow without one that is no larger getting smaller. What loads are possible is a polymatroid (they
are the sinks of a flow), so this share exists, is unique (Megiddo 1974; Fujishige 1980: the lexicographically optimal
base) and, since bounds and network are integral, there is always an assignment of whole replicas with every broker's
load rounded down or up from its share. That makes "within one of its share" a goal that can be met, always.

Found by decomposition: offer every broker the same load per weight; if a cut says that some cannot take it, those take
all they can and the rest is for the others; then the same for both parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from controlplane.domain.rebalance.maxflow import MaxFlow
from controlplane.domain.rebalance.problem import Cell, Problem

Group = tuple[Cell, int, int]
"""Partitions that are asked the same: cell, wanted replicas, spread."""


def replica_groups(problem: Problem) -> dict[Group, int]:
    """How many partitions each group has."""
    return Counter((slot.cell, slot.want, slot.spread) for slot in problem.slots)


def byte_groups(problem: Problem) -> dict[Group, int]:
    """Bytes of one replica of all partitions of each group."""
    found: Counter[Group] = Counter()
    for slot in problem.slots:
        found[slot.cell, slot.want, slot.spread] += slot.size
    return found


def fair_shares(groups: Mapping[Group, int], weights: Sequence[int]) -> list[Fraction]:
    """One share a broker, in the unit of the groups' amounts; together want x amount over all groups."""
    return _Decomposition(groups, weights).shares()


def unplaced(groups: Mapping[Group, int], room: Mapping[int, int]) -> tuple[int, tuple[int, ...]]:
    """How much at least finds no place on brokers with so much room, even if replicas could be split; and which brokers
    are full then."""
    network = _Network(groups, 1)
    known = {broker for cell, _, _ in groups for broker in cell.brokers}
    reaching = network.offer({broker: most for broker, most in room.items() if broker in known})
    left = sum(group[1] * amount for group, amount in groups.items()) - sum(network.load(broker) for broker in known)
    return left, tuple(sorted(known - reaching)) if left else ()


def unfed(groups: Mapping[Group, int], least: Mapping[int, int]) -> int:
    """How much brokers that are to have so much at least go short of together, even if replicas could be split."""
    network = _Network(groups, 1)
    network.offer(least)
    return sum(least.values()) - sum(network.load(broker) for broker in least)


class _Decomposition:
    def __init__(self, groups: Mapping[Group, int], weights: Sequence[int]) -> None:
        self._groups = groups
        self._weights = weights
        self._total = sum(group[1] * amount for group, amount in groups.items())

    def shares(self) -> list[Fraction]:
        found = [Fraction(0)] * len(self._weights)
        everybody = frozenset(broker for cell, _, _ in self._groups for broker in cell.brokers)
        todo = [(everybody, dict[int, int]())] if everybody else []
        while todo:
            part, taken = todo.pop()
            base = self._base(part, taken)
            load, weight = sum(base.values()), sum(self._weights[broker] for broker in part)
            network = _Network(self._groups, weight)
            network.offer({broker: amount * weight for broker, amount in taken.items()})
            short = network.offer({broker: load * self._weights[broker] for broker in part})
            if not short:
                for broker in part:
                    found[broker] = Fraction(load * self._weights[broker], weight)
            else:
                limited = frozenset(short & part)
                todo.append((part - limited, taken | self._base(limited, taken)))
                todo.append((limited, taken))
        return found

    def _base(self, part: frozenset[int], taken: Mapping[int, int]) -> dict[int, int]:
        """A load of `part`, as large as can be beside what was taken by others."""
        network = _Network(self._groups, 1)
        network.offer(taken)
        network.offer(dict.fromkeys(part, self._total))
        return {broker: network.load(broker) for broker in part}


class _Network:
    """source -> group -> (group, rack) -> broker -> sink, every amount times `scale`."""

    def __init__(self, groups: Mapping[Group, int], scale: int) -> None:
        flow = self._flow = MaxFlow()
        self._source, self._sink = flow.node(), flow.node()
        self._nodes: dict[int, int] = {}
        self._arcs: dict[int, int] = {}
        for (cell, want, spread), amount in groups.items():
            each = amount * scale
            apart, rest = flow.node(), flow.node()
            flow.arc(self._source, apart, each * spread)
            if want > spread:
                flow.arc(self._source, rest, each * (want - spread))
            for brokers in cell.by_rack.values():
                rack = flow.node()
                flow.arc(apart, rack, each)
                if want > spread:
                    flow.arc(rest, rack, each * (want - spread))
                for broker in brokers:
                    flow.arc(rack, self._node(broker), each)

    def _node(self, broker: int) -> int:
        if broker not in self._nodes:
            self._nodes[broker] = self._flow.node()
            self._arcs[broker] = self._flow.arc(self._nodes[broker], self._sink, 0)
        return self._nodes[broker]

    def offer(self, limits: Mapping[int, int]) -> set[int]:
        """Let these brokers take so much; who could not, and who could give them nothing: empty if all took it all."""
        for broker, limit in limits.items():
            self._flow.room[self._arcs[broker]] = limit
        self._flow.run(self._source, self._sink)
        if not any(self._flow.room[self._arcs[broker]] for broker in limits):
            return set()
        reaching = self._flow.reaching(self._sink)
        return {broker for broker, node in self._nodes.items() if node in reaching}

    def load(self, broker: int) -> int:
        return self._flow.carried(self._arcs[broker])
