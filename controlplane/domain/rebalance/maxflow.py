"""Maximum flow by blocking flows (Dinic 1970), for networks of a few thousand arcs. Pure."""

from __future__ import annotations


class MaxFlow:
    """Nodes are numbered by `node`. Arcs stand in pairs: arc i and its reverse i ^ 1; `room[i]` is what i still takes.

    Calls of `run` add up: capacities may be raised between them, and no call takes away what reached the sink before.
    """

    def __init__(self) -> None:
        self.room: list[int] = []
        self.head: list[int] = []
        self.out: list[list[int]] = []

    def node(self) -> int:
        self.out.append([])
        return len(self.out) - 1

    def arc(self, tail: int, head: int, capacity: int) -> int:
        self.head += [head, tail]
        self.room += [capacity, 0]
        self.out[tail].append(len(self.head) - 2)
        self.out[head].append(len(self.head) - 1)
        return len(self.head) - 2

    def carried(self, arc: int) -> int:
        return self.room[arc ^ 1]

    def run(self, source: int, sink: int) -> int:
        """Push as much more as goes through; how much that was."""
        total = 0
        while (level := self._levels(source))[sink] >= 0:
            total += self._block(source, sink, level)
        return total

    def reaching(self, sink: int) -> set[int]:
        """The nodes from which more could still reach the sink: a minimum cut's side of it, after `run`."""
        found, queue = {sink}, [sink]
        for node in queue:
            for arc in self.out[node]:
                if self.room[arc ^ 1] and self.head[arc] not in found:
                    found.add(self.head[arc])
                    queue.append(self.head[arc])
        return found

    def _levels(self, source: int) -> list[int]:
        level = [-1] * len(self.out)
        level[source] = 0
        queue = [source]
        for node in queue:
            for arc in self.out[node]:
                if self.room[arc] and level[self.head[arc]] < 0:
                    level[self.head[arc]] = level[node] + 1
                    queue.append(self.head[arc])
        return level

    def _block(self, source: int, sink: int, level: list[int]) -> int:
        at = [0] * len(self.out)
        path: list[int] = []
        node, total = source, 0
        while True:
            if node == sink:
                amount = min(self.room[arc] for arc in path)
                for arc in path:
                    self.room[arc] -= amount
                    self.room[arc ^ 1] += amount
                total += amount
                first = next(number for number, arc in enumerate(path) if not self.room[arc])
                node = self.head[path[first] ^ 1]
                del path[first:]
                continue
            arcs = self.out[node]
            while at[node] < len(arcs):
                arc = arcs[at[node]]
                if self.room[arc] and level[self.head[arc]] == level[node] + 1:
                    break
                at[node] += 1
            if at[node] < len(arcs):
                path.append(arcs[at[node]])
                node = self.head[path[-1]]
            elif path:
                arc = path.pop()
                node = self.head[arc ^ 1]
                at[node] += 1
            else:
                return total
