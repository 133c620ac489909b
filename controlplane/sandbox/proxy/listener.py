"""One address and port of a Service: open, closed (clients are refused) or cut (clients hang)."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable

from controlplane.sandbox.proxy.endpoints import Endpoint

BACKLOG = 512
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
OUT_OF_FILES_PAUSE_SECONDS = 1.0
_RESET = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)


class Listener:
    """Accepts on `address` while open and hands each connection to `on_accept`.

    Closed means that no socket is bound, so that the kernel refuses (ECONNREFUSED), as kube-proxy's reject rule does.
    Cut means that the socket stays bound with its accept queue full: the kernel then drops every SYN, so that a client
    hangs in connect, as behind a network that drops packets; once healed, its next retry gets through.
    """

    def __init__(self, address: Endpoint, on_accept: Callable[[socket.socket], None]) -> None:
        self.address = address
        self._on_accept = on_accept
        self._socket: socket.socket | None = None
        self._filler: socket.socket | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def listening(self) -> bool:
        return self._socket is not None

    def open(self) -> None:
        """Idempotent. Raises OSError when the address cannot be bound."""
        sock = self._bind()
        if self._filler is not None:
            self._filler.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._filler.close()
            self._filler = None
            sock.listen(BACKLOG)
        self._loop.add_reader(sock, self._accept)

    def cut(self) -> None:
        """Idempotent. Raises OSError when the address cannot be bound."""
        sock = self._bind()
        if self._filler is not None:
            return
        self._loop.remove_reader(sock)
        sock.listen(0)
        self._filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._filler.connect_ex(self.address)

    def close(self) -> None:
        """Idempotent."""
        for sock in (self._filler, self._socket):
            if sock is not None:
                self._loop.remove_reader(sock)
                sock.close()
        self._filler = self._socket = None

    def _bind(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(self.address)
                sock.listen(BACKLOG)
            except OSError:
                sock.close()
                raise
            self._socket = sock
        return self._socket

    def _accept(self) -> None:
        assert self._socket is not None  # noqa: S101 - the reader goes with the socket
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in OUT_OF_FILES:
                raise
            log.warning("cannot accept on %s:%d: %s", *self.address, error.strerror)
            self._loop.remove_reader(self._socket)
            self._loop.call_later(OUT_OF_FILES_PAUSE_SECONDS, self._again, self._socket)
            return
        accepted.setblocking(False)
        self._on_accept(accepted)

    def _again(self, sock: socket.socket) -> None:
        if sock is self._socket and self._filler is None:
            self._loop.add_reader(sock, self._accept)
