"""A Service's carrier with real sockets: bytes, half-closes, resets, back-pressure, faults."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.pod import loopback_network

from controlplane.sandbox.proxy.carrier import ServiceCarrier
from controlplane.sandbox.proxy.endpoints import Endpoint, Name, PodRecord, ServicePort, ServiceRecord
from controlplane.sandbox.proxy.server import bind_advice

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NETWORK = loopback_network()
HOSTS = itertools.count(1)
PORT = 9092
PATIENCE = 60.0
SOON = 0.3
"""Long enough for loopback, short enough to wait for nothing to happen."""


def own_address() -> str:
    """A loopback address that nothing else has used: no other test process, and no client's outgoing connection."""
    return f"{NETWORK}.{next(HOSTS)}"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Rig:
    """One Service on a loopback port and its pods, each a real server on an address of its own."""

    def __init__(self) -> None:
        self.errors: list[tuple[Endpoint, OSError]] = []
        self.address = Endpoint(own_address(), PORT)
        self.pods: list[PodRecord] = []
        port = ServicePort("kafka", (self.address,), PORT)
        self.service = ServiceRecord(Name("ns", "s"), "uid", {"app": "web"}, (port,))
        self.carrier = ServiceCarrier(self.service, lambda _, address, error: self.errors.append((address, error)))
        self._servers: list[asyncio.Server] = []

    async def pod(self, handler: Handler = echo, *, up: bool = True) -> PodRecord:
        address = own_address()
        if up:
            self._servers.append(await asyncio.start_server(handler, address, PORT))
        record = PodRecord(Name("ns", f"p{address}"), address, {"app": "web"}, ready=True, finished=False)
        self.pods.append(record)
        self.update()
        return record

    def ready(self, pod: PodRecord, ready: bool) -> None:  # noqa: FBT001
        self.pods = [replace(one, ready=ready) if one.name == pod.name else one for one in self.pods]
        self.update()

    def update(self) -> None:
        self.carrier.update(self.service, self.pods)

    async def connect(self) -> Streams:
        return await asyncio.wait_for(asyncio.open_connection(*self.address), PATIENCE)

    async def close(self) -> None:
        self.carrier.shut_down()
        for server in self._servers:
            server.close()


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    try:
        yield made
    finally:
        await made.close()


async def says(streams: Streams, text: bytes) -> bytes:
    reader, writer = streams
    writer.write(text)
    return await asyncio.wait_for(reader.readexactly(len(text)), PATIENCE)


async def silent(awaitable: Awaitable[Any]) -> bool:
    """Whether nothing comes."""
    try:
        await asyncio.wait_for(awaitable, SOON)
    except TimeoutError:
        return True
    return False


def names(number: int) -> Handler:
    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(number).encode())
        writer.close()

    return handler


async def test_bytes_go_both_ways_and_links_end() -> None:
    async with rig() as here:
        await here.pod()
        streams = await here.connect()
        data = bytes(range(256)) * 4096
        assert await says(streams, data) == data
        assert here.carrier.links == 1
        streams[1].close()
        await streams[1].wait_closed()
        async with asyncio.timeout(PATIENCE):
            while here.carrier.links:
                await asyncio.sleep(0.01)


async def test_the_server_may_speak_first() -> None:
    async with rig() as here:
        for number in range(3):
            await here.pod(names(number))
        clients = [await here.connect() for _ in range(6)]
        assert sorted([await reader.read() for reader, _ in clients]) == [b"0", b"0", b"1", b"1", b"2", b"2"]


async def test_the_clients_half_close_reaches_the_server_and_the_answer_comes_back() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(b"got %d" % len(data))
        writer.close()

    async with rig() as here:
        await here.pod(answer_at_the_end)
        reader, writer = await here.connect()
        writer.write(b"x" * 1_000_000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"got 1000000"


async def test_the_servers_half_close_reaches_the_client_which_may_go_on() -> None:
    received = asyncio.get_running_loop().create_future()

    async def end_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        received.set_result(await reader.read())
        writer.close()

    async with rig() as here:
        await here.pod(end_first)
        reader, writer = await here.connect()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.write(b"still here")
        writer.close()
        assert await asyncio.wait_for(received, PATIENCE) == b"still here"


async def test_a_reset_is_passed_on() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()  # a close alone is a reset only if it meets unread bytes, else a half-close

    async with rig() as here:
        await here.pod(reset)
        reader, writer = await here.connect()
        writer.write(b"x" * 10_000_000)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(asyncio.gather(writer.drain(), reader.readexactly(1)), PATIENCE)


async def test_a_slow_reader_stops_the_sender() -> None:
    stuck = asyncio.Event()

    async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stuck.wait()
        writer.close()

    async with rig() as here:
        await here.pod(never_read)
        sent, sock = 0, socket.create_connection(here.address)
        sock.setblocking(False)
        idle = 0
        while idle < 20:
            try:
                sent += sock.send(b"x" * 65536)
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0.01)
            assert sent < 64 * 2**20
        (link,) = here.carrier._links
        assert link.upstream.transport is not None
        assert link.upstream.transport.get_write_buffer_size() < 2**20
        stuck.set()
        sock.close()


async def test_nobody_ready_means_refused_and_ready_means_served() -> None:
    async with rig() as here:
        pod = await here.pod()
        assert await says(await here.connect(), b"a") == b"a"
        here.ready(pod, ready=False)
        with pytest.raises(ConnectionRefusedError):
            await here.connect()
        here.ready(pod, ready=True)
        assert await says(await here.connect(), b"b") == b"b"


async def test_a_link_outlives_its_endpoint_and_its_service() -> None:
    async with rig() as here:
        pod = await here.pod()
        streams = await here.connect()
        assert await says(streams, b"a") == b"a"
        here.ready(pod, ready=False)
        assert await says(streams, b"b") == b"b"
        here.carrier.close()
        assert await says(streams, b"c") == b"c"


async def test_a_dead_pod_resets_its_client() -> None:
    async with rig() as here:
        await here.pod(up=False)

        async def connect_and_read() -> bytes:
            """The reset may come before or after the client has seen that it is connected."""
            reader, _ = await here.connect()
            return await asyncio.wait_for(reader.read(), PATIENCE)

        with pytest.raises(ConnectionResetError):
            await connect_and_read()


async def test_cut_hangs_old_and_new_connections_until_healed() -> None:
    async with rig() as here:
        pod = await here.pod()
        old = await here.connect()
        assert await says(old, b"a") == b"a"
        here.carrier.inject("service")
        old[1].write(b"b")
        assert await silent(old[0].readexactly(1))
        attempts = [asyncio.create_task(asyncio.open_connection(*here.address)) for _ in range(3)]
        _, pending = await asyncio.wait(attempts, timeout=SOON)
        assert len(pending) == 3
        here.ready(pod, ready=False)  # what changes meanwhile must not open it
        here.ready(pod, ready=True)
        assert all(not attempt.done() for attempt in attempts)
        here.carrier.inject(None)
        assert await asyncio.wait_for(old[0].readexactly(1), PATIENCE) == b"b"
        for streams in await asyncio.wait_for(asyncio.gather(*attempts), PATIENCE):
            assert await says(streams, b"c") == b"c"
        assert await says(await here.connect(), b"d") == b"d"


async def test_refuse_resets_old_and_refuses_new_connections_until_healed() -> None:
    async with rig() as here:
        await here.pod()
        reader, writer = await here.connect()
        assert await says((reader, writer), b"a") == b"a"
        here.carrier.inject("refuse")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            await here.connect()
        here.carrier.inject(None)
        assert await says(await here.connect(), b"b") == b"b"


async def test_an_address_in_use_is_reported_and_others_still_work() -> None:
    async with rig() as here:
        other = Endpoint(own_address(), PORT)
        here.service = replace(here.service, ports=(*here.service.ports, ServicePort("second", (other,), PORT)))
        squatter = socket.create_server(here.address)
        await here.pod()
        assert [(address, error.errno) for address, error in here.errors] == [(here.address, errno.EADDRINUSE)]
        reader, writer = await asyncio.open_connection(*other)
        assert await says((reader, writer), b"x") == b"x"
        squatter.close()
        assert here.carrier.converge()
        assert await says(await here.connect(), b"y") == b"y"


async def test_a_moved_port_closes_the_old_address() -> None:
    async with rig() as here:
        await here.pod()
        old, here.address = here.address, Endpoint(own_address(), PORT)
        here.service = replace(here.service, ports=(ServicePort("kafka", (here.address,), PORT),))
        here.update()
        assert await says(await here.connect(), b"x") == b"x"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*old)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "ports below 1024 need root"), (errno.EADDRINUSE, "another process"), (errno.EINVAL, "Invalid")],
)
def test_advice_names_the_address_and_what_to_do(number: int, words: str) -> None:
    text = bind_advice(Endpoint("127.21.0.5", 443), OSError(number, errno.errorcode[number] + " Invalid"))
    assert "127.21.0.5:443" in text
    assert words in text
