"""One Service in force: its listeners, its links, the fault upon it."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

from controlplane.sandbox.proxy.balancer import Balancer
from controlplane.sandbox.proxy.endpoints import Endpoint, PodRecord, ServiceRecord
from controlplane.sandbox.proxy.link import Link
from controlplane.sandbox.proxy.listener import Listener

Cut = Literal["service", "refuse"]
"""Kinds of faults.json that act on a Service: traffic hangs, or is refused and reset."""

BindError = Callable[[ServiceRecord, Endpoint, OSError], None]
_RESET = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)


class ServiceCarrier:
    """Carries one Service's ports. Endpoints that go leave their links alone: connections end by themselves.

    `on_bind_error` hears each address that cannot be bound; other addresses work on. Call `converge` again to retry.
    """

    def __init__(self, service: ServiceRecord, on_bind_error: BindError) -> None:
        self.service = service
        self.fault: Cut | None = None
        self._on_bind_error = on_bind_error
        self._balancers: dict[str, Balancer] = {}
        self._listeners: dict[Endpoint, tuple[Listener, Balancer]] = {}
        self._links: set[Link] = set()
        self._dials: set[asyncio.Task[None]] = set()

    @property
    def endpoints(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """Where an address leads to -> who serves there."""
        return {label: balancer.endpoints for label, balancer in self._balancers.items()}

    @property
    def links(self) -> int:
        return len(self._links)

    def update(self, service: ServiceRecord, pods: Iterable[PodRecord]) -> None:
        """The Service or its pods changed: make listeners and endpoints agree with them."""
        self.service = service
        pods = list(pods)
        wanted: dict[Endpoint, Balancer] = {}
        balancers: dict[str, Balancer] = {}
        for port in service.ports:
            for address in port.listen:
                way, node = port.way(address)
                if way not in balancers:
                    balancers[way] = self._balancer(way)
                    balancers[way].endpoints = service.endpoints(port, pods, node)
                wanted[address] = balancers[way]
        for address in self._listeners.keys() - wanted.keys():
            self._listeners.pop(address)[0].close()
        for address, balancer in wanted.items():
            known = self._listeners.get(address)
            if known is None or known[1] is not balancer:
                listener = known[0] if known else Listener(address, partial(self._accepted, address))
                self._listeners[address] = (listener, balancer)
        self._balancers = balancers
        self.converge()

    def inject(self, fault: Cut | None) -> None:
        """Put the Service under a fault, or heal it (None)."""
        if fault == self.fault:
            return
        self.fault = fault
        for link in list(self._links):
            if fault == "refuse":
                link.reset()
            elif fault == "service":
                link.freeze()
            else:
                link.thaw()
        self.converge()

    def converge(self) -> bool:
        """Open, cut or close each listener as fault and endpoints want it; False if one could not be bound."""
        bound = True
        for address, (listener, balancer) in self._listeners.items():
            try:
                if self.fault == "service":
                    listener.cut()
                elif self.fault == "refuse" or not balancer.endpoints:
                    listener.close()
                else:
                    listener.open()
            except OSError as error:
                bound = False
                self._on_bind_error(self.service, address, error)
        return bound

    def close(self) -> None:
        """The Service is gone: refuse new connections; links go on to their own end."""
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def shut_down(self) -> None:
        """The proxy goes: nothing stays open."""
        self.close()
        for dial in self._dials:
            dial.cancel()
        for link in list(self._links):
            link.reset()

    def _balancer(self, way: str) -> Balancer:
        known = self._balancers.get(way)
        if known is None or known.affinity_seconds != self.service.affinity_seconds:
            return Balancer(self.service.affinity_seconds)
        return known

    def _accepted(self, address: Endpoint, sock: socket.socket) -> None:
        dial = asyncio.get_running_loop().create_task(self._dial(address, sock))
        self._dials.add(dial)
        dial.add_done_callback(self._dials.discard)

    async def _dial(self, address: Endpoint, sock: socket.socket) -> None:
        """Connect to one endpoint, never to a second: a pod that died a moment ago shows, as with kube-proxy."""
        loop = asyncio.get_running_loop()
        known = self._listeners.get(address)
        link = Link(self._links.discard)
        try:
            endpoint = known[1].pick(sock.getpeername()[0], time.monotonic()) if known else None
            if endpoint is None:
                raise ConnectionRefusedError(f"no endpoint behind {self.service.name}")
            await loop.create_connection(lambda: link.upstream, endpoint.address, endpoint.port)
            self._links.add(link)
            await loop.connect_accepted_socket(lambda: link.client, sock)
        except OSError as error:
            log.info("%s: connection refused: %s", self.service.name, error)
            _reset(sock)
            link.reset()
        except asyncio.CancelledError:
            _reset(sock)
            link.reset()
            raise
        else:
            if self.fault == "refuse":
                link.reset()
            elif self.fault == "service":
                link.freeze()
            else:
                link.start()


def _reset(sock: socket.socket) -> None:
    if sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()
