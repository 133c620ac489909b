"""One proxied TCP connection: bytes, half-closes and resets carried both ways.

Back-pressure: a side that cannot write for now stops the other from being read, so that a link holds at most about two
write buffers (`BUFFER_BYTES` each) plus one read, whatever its clients do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

BUFFER_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)


class Link:
    """A client and an upstream. `on_end` is called once, when both sides are gone.

    A half-close is passed on and the other direction goes on. A reset (or any error) of one side resets the other.
    While `freeze`d nothing is read from either side: to both it looks like a network that drops every packet.
    """

    def __init__(self, on_end: Callable[[Link], None]) -> None:
        self.client, self.upstream = Side(self), Side(self)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.frozen = False
        self._on_end = on_end
        self._ended = False

    def start(self) -> None:
        """Both sides are connected: what one sends reaches the other from now on."""
        self.client.update()
        self.upstream.update()

    def freeze(self) -> None:
        self.frozen = True
        self.start()

    def thaw(self) -> None:
        self.frozen = False
        self.start()

    def reset(self) -> None:
        """Both peers get a TCP reset (ECONNRESET)."""
        self.client.reset()
        self.upstream.reset()

    def side_lost(self) -> None:
        if not self._ended and self.client.gone and self.upstream.gone:
            self._ended = True
            self._on_end(self)


class Side(asyncio.Protocol):
    """One end of a link."""

    peer: Side

    def __init__(self, link: Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.eof = False
        self.choked = False
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio gives stream protocols
        self.transport = transport
        if self.gone:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.update()

    def update(self) -> None:
        """Read from this side only while the other can take it."""
        if self.transport is None or self.gone or self.eof or self.transport.is_closing():
            return
        if self.peer.transport is None or self.peer.choked or self.link.frozen:
            self.transport.pause_reading()
            return
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.peer.send(data)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def eof_received(self) -> bool:
        """True keeps this side open for writing: the other direction goes on."""
        self.eof = True
        peer = self.peer.transport
        if self.peer.eof:
            self.close()
            self.peer.close()
        elif peer is not None and not peer.is_closing():
            peer.write_eof()
        return True

    def pause_writing(self) -> None:
        self.choked = True
        self.peer.update()

    def resume_writing(self) -> None:
        self.choked = False
        self.peer.update()

    def close(self) -> None:
        """Close once all that was written has left."""
        if self.transport is None:
            self.gone = True
            self.link.side_lost()
        else:
            self.transport.close()

    def reset(self) -> None:
        if self.transport is None:
            self.gone = True
            self.link.side_lost()
        elif not self.gone:
            sock: socket.socket = self.transport.get_extra_info("socket")
            if sock.fileno() != -1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if exc is not None:
            self.peer.reset()
        else:
            self.peer.close()
        self.link.side_lost()
