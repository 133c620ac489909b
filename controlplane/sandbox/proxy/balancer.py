"""Who serves the next connection."""

from __future__ import annotations

from collections import OrderedDict

from controlplane.sandbox.proxy.endpoints import Endpoint

AFFINITY_CLIENTS = 10_000


class Balancer:
    """Round robin over the endpoints of one Service port, with optional affinity by client address.

    As with kube-proxy, affinity lasts `affinity_seconds` from the client's last connection and ends when its endpoint
    goes. The oldest clients are forgotten past `AFFINITY_CLIENTS`.
    """

    def __init__(self, affinity_seconds: int | None = None) -> None:
        self.affinity_seconds = affinity_seconds
        self.endpoints: tuple[Endpoint, ...] = ()
        self._turn = 0
        self._clients: OrderedDict[str, tuple[Endpoint, float]] = OrderedDict()

    def pick(self, client: str, now: float) -> Endpoint | None:
        """`now` is monotonic seconds; None when nobody serves."""
        if not self.endpoints:
            return None
        if self.affinity_seconds is not None:
            chosen, last = self._clients.get(client, (None, 0.0))
            if chosen is None or chosen not in self.endpoints or now - last >= self.affinity_seconds:
                chosen = self._next()
            self._clients[client] = (chosen, now)
            self._clients.move_to_end(client)
            while len(self._clients) > AFFINITY_CLIENTS:
                self._clients.popitem(last=False)
            return chosen
        return self._next()

    def _next(self) -> Endpoint:
        endpoint = self.endpoints[self._turn % len(self.endpoints)]
        self._turn = (self._turn + 1) % len(self.endpoints)
        return endpoint
