"""ports.DelayGauge: its contract on the fake, and on the adapter before small servers that speak Kafka's frames."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import pytest
from support.delay_contract import KEY, DelayGaugeContract
from support.fake_delays import FakeDelays
from support.simulation import SlowClock

from controlplane.adapters.kafka import delays
from controlplane.adapters.kafka.delays import DelayGauges, request

INTERVAL = 0.01


class Server:
    """Answers each frame with its correlation id, one after the other, after `wait` seconds."""

    def __init__(self) -> None:
        self.wait = 0.0
        self.frames: list[bytes] = []
        self.answers_wrongly = False
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        self._stopped.clear()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._stopped.set()
        for writer in tuple(self._open):
            writer.transport.abort()

    @property
    def connections(self) -> int:
        return sum(not reader.at_eof() for reader in self._open.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = reader
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = await reader.readexactly(size)
                self.frames.append(frame)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), self.wait)
                (number,) = struct.unpack(">i", frame[4:8])
                body = struct.pack(">ihi", number + self.answers_wrongly, 0, 0)
                writer.write(struct.pack(">i", len(body)) + body)
        except (EOFError, OSError):
            pass
        finally:
            del self._open[writer]
            writer.close()


class Servers:
    """Implements Stand."""

    def __init__(self) -> None:
        self.servers = {1: Server(), 2: Server()}

    @property
    def brokers(self) -> Mapping[int, tuple[str, int]]:
        return {broker: ("127.0.0.1", server.port) for broker, server in self.servers.items()}

    def slow(self, broker: int, seconds: float) -> None:
        self.servers[broker].wait = seconds

    async def stop(self, broker: int) -> None:
        await self.servers[broker].stop()

    async def start(self, broker: int) -> None:
        await self.servers[broker].start()

    def now(self) -> float:
        return time.monotonic()

    async def pause(self) -> None:
        await asyncio.sleep(INTERVAL)


class OnFake:
    """Implements Stand."""

    def __init__(self) -> None:
        self.brokers = {1: ("broker-1", 9091), 2: ("broker-2", 9091)}
        self.clock = SlowClock()
        self.gauge = FakeDelays(self.clock)

    def slow(self, broker: int, seconds: float) -> None:
        self.gauge.waits[broker] = seconds

    async def stop(self, broker: int) -> None:
        self.gauge.away.add(broker)

    async def start(self, broker: int) -> None:
        self.gauge.away.discard(broker)

    def now(self) -> float:
        return self.clock.monotonic()

    async def pause(self) -> None:
        self.clock.seconds += 1


class TestFake(DelayGaugeContract):
    @pytest.fixture
    def stand(self) -> OnFake:
        return OnFake()

    @pytest.fixture
    def gauge(self, stand: OnFake) -> FakeDelays:
        return stand.gauge


class TestReal(DelayGaugeContract):
    @pytest.fixture
    async def stand(self) -> AsyncIterator[Servers]:
        servers = Servers()
        for server in servers.servers.values():
            await server.start()
        yield servers
        for server in servers.servers.values():
            await server.stop()

    @pytest.fixture
    async def gauge(self, stand: Servers) -> AsyncIterator[DelayGauges]:
        gauges = DelayGauges(interval=INTERVAL)
        yield gauges
        await gauges.close()
        for _ in range(100):
            if not any(server.connections for server in stand.servers.values()):
                return
            await stand.pause()
        raise AssertionError("a connection was left open")

    async def test_a_request_that_is_still_waiting_is_a_sample(
        self, gauge: DelayGauges, stand: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delays, "PENDING_SECONDS", 0.05)
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        stand.slow(1, 3600.0)
        for _ in range(200):
            if (await gauge.look(KEY, stand.brokers))[1][-1].seconds >= 0.2:
                break
            await stand.pause()
        else:
            raise AssertionError("a request has been waiting, and nobody says so")

    async def test_one_that_stays_silent_is_not_waited_for(
        self, gauge: DelayGauges, stand: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frozen broker accepts connections: it is dead or alive, and not known to be saturated."""
        monkeypatch.setattr(delays, "SILENT_SECONDS", 0.1)
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        stand.slow(1, 3600.0)
        await asyncio.sleep(0.3)
        samples = (await gauge.look(KEY, stand.brokers))[1]
        await asyncio.sleep(0.3)
        assert (await gauge.look(KEY, stand.brokers))[1] == samples
        stand.slow(1, 0.0)
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})

    async def test_an_answer_to_something_else_is_none(self, gauge: DelayGauges, stand: Servers) -> None:
        stand.servers[1].answers_wrongly = True
        found = await self.seen(gauge, stand, lambda found: 2 in found)
        assert 1 not in found

    async def test_nobody_looks_and_it_ends(
        self, gauge: DelayGauges, stand: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        monkeypatch.setattr(delays, "IDLE_SECONDS", 0.05)
        for _ in range(200):
            await stand.pause()
            if not any(server.connections for server in stand.servers.values()):
                break
        else:
            raise AssertionError("it goes on asking")
        monkeypatch.undo()
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})

    async def test_one_connection_a_broker_and_one_request_at_a_time(self, gauge: DelayGauges, stand: Servers) -> None:
        stand.slow(1, 0.05)
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        assert {server.connections for server in stand.servers.values()} == {1}


def test_the_request_is_api_versions_0() -> None:
    frame = request(7)
    assert struct.unpack(">ihhi", frame[:12]) == (len(frame) - 4, 18, 0, 7)
    assert struct.unpack(">h", frame[12:14]) == (len(frame) - 14,)
    assert frame[14:] == b"kfleet-delays"
