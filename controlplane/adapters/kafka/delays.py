"""ports.DelayGauge: a small request to each broker now and then, over a connection of its own.

The request is ApiVersions version 0 (KIP-35), which every release answers and every principal may send. It is written
here byte by byte: a client library would send its own requests on the same connection, in front of ours, and answer for
a connection that is lost by time-outs and retries of its own. A broker serves one connection's requests in order, so
that each connection has one request at a time.

The first look at a cluster begins its watch, one task a broker. Looks keep it alive; `IDLE_SECONDS` after the last one
it ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence

from controlplane.adapters.tls import context
from controlplane.domain.shedding.measure import Delay
from controlplane.ports import ClientTls

_log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
CONNECT_SECONDS = 10.0
"""TCP, and TLS where there is; the network threads of a busy broker take their time too."""
SILENT_SECONDS = 20.0
"""A broker that has not answered a request by then may be dead or frozen: nothing is known of it."""
PENDING_SECONDS = 1.0
"""A request that has waited for so long is a sample already: an answer would only make it a larger one."""
KEPT = 300
"""Samples of a broker that are kept: what it takes at rest is the least of them."""

ANSWER_BYTES = 1024 * 1024
"""An answer is under a kilobyte; what says that it is longer than this is no broker."""

_CLIENT = b"kfleet-delays"
_NUMBER_BYTES = 4
_API_VERSIONS = 18
_Address = tuple[str, int]


class DelayGauges:
    """Watches by cluster; call it from one event loop. `interval` is the seconds between two requests to a broker."""

    def __init__(self, *, interval: float) -> None:
        self._interval = interval
        self._watches: dict[str, _Watch] = {}

    async def look(
        self, cluster_key: str, brokers: Mapping[int, _Address], tls: ClientTls | None = None
    ) -> Mapping[int, Sequence[Delay]]:
        watch = self._watches.get(cluster_key)
        if watch is None:
            watch = self._watches[cluster_key] = _Watch(self._interval)
        return watch.look(brokers, tls)

    async def forget(self, cluster_key: str) -> None:
        watch = self._watches.pop(cluster_key, None)
        if watch is not None:
            await watch.end()

    async def close(self) -> None:
        for key in tuple(self._watches):
            await self.forget(key)


class _Watch:
    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._tls: tuple[str, ssl.SSLContext | None] = ("", None)
        self._probes: dict[int, _Probe] = {}
        self._left: list[_Probe] = []

    def look(self, brokers: Mapping[int, _Address], tls: ClientTls | None) -> dict[int, Sequence[Delay]]:
        generation = tls.generation if tls is not None else ""
        if tls is not None and self._tls[0] != generation:
            try:
                self._tls = (generation, context(tls))
            except (ssl.SSLError, ValueError) as error:
                _log.warning("the operator's certificate or what it trusts cannot be used: %s", error)
                return {}
        way = (generation, self._tls[1] if tls is not None else None)
        self._left = [probe for probe in self._left if not probe.ended]
        for broker, probe in tuple(self._probes.items()):
            if broker not in brokers or probe.ended or (probe.address, probe.generation) != (brokers[broker], way[0]):
                probe.cancel()
                self._left.append(self._probes.pop(broker))
        for broker, address in brokers.items():
            if broker not in self._probes:
                self._probes[broker] = _Probe(address, way, self._interval)
        return {broker: probe.look() for broker, probe in sorted(self._probes.items())}

    async def end(self) -> None:
        probes = [*self._probes.values(), *self._left]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*(probe.task for probe in probes), return_exceptions=True)


class _Probe:
    """One broker's task and samples."""

    def __init__(self, address: _Address, way: tuple[str, ssl.SSLContext | None], interval: float) -> None:
        self.address = address
        self.generation, self._tls = way
        self._interval = interval
        self._samples: deque[Delay] = deque(maxlen=KEPT)
        self._sent: float | None = None
        self._looked = time.monotonic()
        self._numbers = itertools.count(1)
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def ended(self) -> bool:
        return self.task.done()

    def cancel(self) -> None:
        self.task.cancel()

    def look(self) -> Sequence[Delay]:
        self._looked = now = time.monotonic()
        waiting = now - self._sent if self._sent is not None else 0.0
        pending = (Delay(now, waiting),) if waiting >= PENDING_SECONDS else ()
        return (*self._samples, *pending)

    async def _run(self) -> None:
        """Connection after connection, each until it fails."""
        while not self._idle():
            try:
                await self._ask()
            except (OSError, EOFError, ValueError) as error:  # TimeoutError and SSLError are OSErrors
                _log.debug("%s:%d: %r", *self.address, error)
            await asyncio.sleep(self._interval)

    async def _ask(self) -> None:
        """Requests until nobody looks any more. Raises OSError, EOFError, ValueError."""
        host, port = self.address
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=self._tls, server_hostname=host if self._tls is not None else None
            )
        try:
            await self._answer(reader, writer)  # the first one waits for what a new connection takes
            while not self._idle():
                self._sent = began = time.monotonic()
                await self._answer(reader, writer)
                self._sent, now = None, time.monotonic()
                self._samples.append(Delay(now, now - began))
                await asyncio.sleep(max(0.0, began + self._interval - now))
        finally:
            self._sent = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        async with asyncio.timeout(SILENT_SECONDS):
            writer.write(request(number))
            await writer.drain()
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            if not _NUMBER_BYTES <= size <= ANSWER_BYTES:
                raise ValueError(f"an answer of {size} bytes")
            (answered,) = struct.unpack(">i", (await reader.readexactly(size))[:_NUMBER_BYTES])
        if answered != number:
            raise ValueError(f"request {number} was answered as {answered}")

    def _idle(self) -> bool:
        return time.monotonic() - self._looked > IDLE_SECONDS


def request(number: int) -> bytes:
    """ApiVersions version 0 with request header version 1: key, version, correlation id, client id; no body."""
    body = struct.pack(f">hhih{len(_CLIENT)}s", _API_VERSIONS, 0, number, len(_CLIENT), _CLIENT)
    return struct.pack(">i", len(body)) + body
