"""Connections to the brokers of one cluster, and the choice of the one to ask.

kafka-python does the protocol on an I/O thread of its own; callers await on the asyncio loop, so no thread ever blocks
on a broker. Any broker answers for the whole cluster, because KRaft brokers forward to the active controller what only
it can do. During a roll one broker is always down and, worse, one may be half dead (its socket accepts and nothing
answers), so that the choice is ours, not kafka-python's, whose bootstrap gives the first server all the time there is:

- servers that answered last come first, those that failed last come last;
- a refused connection passes to the next server at once, a silent one after `ATTEMPT_SECONDS`; silent ones are asked
  again with twice the patience while there is time, as a busy machine is not a dead broker;
- requests that change something go only to a server that has just answered a small question, and are never repeated
  once they may have been sent: the caller observes again instead (UNREACHABLE then means "unknown").

Reads and writes have separate connections, because a broker answers one connection's requests in order.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias, TypeVar

from kafka import errors as kafka_errors
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import ApiVersionsRequest

from controlplane.adapters.kafka.errors import of_client
from controlplane.ports import KafkaError, KafkaUnreachableError

T = TypeVar("T")

ATTEMPT_SECONDS = 2.0
"""How long one server may stay silent at first before the next one is asked."""
CONNECT_SECONDS = 1.0
"""How long TCP and ApiVersions together may take; a frozen broker's kernel still accepts connections."""
RETRY_SECONDS = 0.1
"""Pause before a question is asked again that nobody could answer yet (an election in the controllers, usually)."""
_CONFIG = {
    "client_id": "kfleet-operator",
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 500,
    "socket_connection_setup_timeout_ms": CONNECT_SECONDS * 1000,
    "socket_connection_setup_timeout_max_ms": CONNECT_SECONDS * 1000,
    "receive_message_max_bytes": 100_000_000,
    "max_in_flight_requests_per_connection": 1000,
}


class Broker:
    """One server, as handed to a question. Its methods run on the I/O thread."""

    def __init__(self, manager: Any, node: str, address: str, deadline: float) -> None:
        self._manager, self._node, self._deadline = manager, node, deadline
        self.address = address
        """host:port, as it was given."""

    def start(self, request: Any) -> Awaitable[Any]:
        """The request is on its way; await the answer later. Requests to one broker are answered in order."""
        connection = self._manager.get_connection(self._node, refresh_metadata_on_err=False)
        started: Awaitable[Any] = connection.send_request(request, request_timeout_ms=self.milliseconds_left)
        return started

    async def send(self, request: Any) -> Any:
        return await self.start(request)

    @property
    def milliseconds_left(self) -> int:
        """Until this server's time is up; at least 1."""
        return max(1, int((self._deadline - time.monotonic()) * 1000))


Question: TypeAlias = Callable[[Broker], Awaitable[T]]
"""What to ask of one broker; runs on the I/O thread, and may be run again on another broker."""


class Connections:
    """All connections to one set of servers. Safe to use from one asyncio loop, by many tasks."""

    def __init__(self, servers: Sequence[str], executor: Executor, tls: ssl.SSLContext | None = None) -> None:
        """`executor` runs what may block when connections are closed; without `tls` all goes in plaintext. Raises
        ValueError without servers."""
        if not servers:
            raise ValueError("no bootstrap servers")
        self._executor = executor
        self._net = NetworkSelector(client_id=_CONFIG["client_id"])
        self._reads, self._writes = (_Lane(self._net, servers, tls) for _ in range(2))
        self._order = [*self._reads.nodes]
        """Addresses, the one to ask first first."""
        self._net.start()

    async def read(self, question: Question[T], seconds: float) -> T:
        """Ask until one broker answers; retriable errors are asked again. Raises KafkaError."""
        return await self._on_io_thread(self._read, question, time.monotonic() + seconds, seconds=seconds)

    async def write(self, command: Question[T], seconds: float) -> T:
        """Command one broker that is known to answer, once. Raises KafkaError."""
        return await self._on_io_thread(self._write, command, time.monotonic() + seconds, seconds=seconds)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self.close_now)

    def close_now(self) -> None:
        """Blocks until the I/O thread has ended (a name look-up under way is waited for)."""
        self._net.stop()
        for lane in (self._reads, self._writes):
            lane.manager.close()
        self._net.close()

    async def _read(self, question: Question[T], deadline: float) -> T:
        return await self._ask(self._reads, question, deadline)

    async def _write(self, command: Question[T], deadline: float) -> T:
        address = await self._ask(self._writes, _alive, deadline)
        try:
            return await command(self._writes.broker(address, deadline))
        except kafka_errors.KafkaError as error:
            self._demote(address)
            if _is_transport(error):
                raise KafkaUnreachableError(
                    f"{address} did not answer ({_reason(error)}); the change may or may not have been made"
                ) from error
            raise of_client(error) from error

    async def _ask(self, lane: _Lane, question: Question[T], deadline: float) -> T:
        """Round after round until one server answers, time is up, or every server refuses the connection."""
        patience = ATTEMPT_SECONDS
        while True:
            try:
                return await self._ask_each(lane, question, deadline, patience)
            except _AllDeadError:
                raise
            except KafkaError as error:
                if not error.retriable or time.monotonic() + RETRY_SECONDS >= deadline:
                    raise
            patience *= 2
            await self._net.sleep(RETRY_SECONDS)

    async def _ask_each(self, lane: _Lane, question: Question[T], deadline: float, patience: float) -> T:
        """Every server once, best first. Raises KafkaUnreachableError with each one's reason, or a broker's refusal."""
        reasons: list[str] = []
        refusal: KafkaError | None = None
        silent = False
        for address in sorted(self._order, key=lane.is_backing_off):
            start = time.monotonic() + lane.backoff(address)
            if start >= deadline:
                reasons.append(f"{address}: no time was left")
                continue
            await self._net.sleep(lane.backoff(address))
            try:
                answer = await question(lane.broker(address, min(deadline, start + patience)))
            except kafka_errors.KafkaError as error:
                self._demote(address)
                if not _is_transport(error):
                    raise of_client(error) from error
                silent = silent or isinstance(error, _SILENCE)
                reasons.append(f"{address}: {_reason(error)}")
            except KafkaError as error:
                if not error.retriable:
                    raise
                self._demote(address)
                refusal = error
            else:
                self._promote(address)
                return answer
        if refusal is not None:
            raise refusal
        raise (KafkaUnreachableError if silent else _AllDeadError)(f"no broker answers ({'; '.join(reasons)})")

    def _promote(self, address: str) -> None:
        self._order = [address, *(other for other in self._order if other != address)]

    def _demote(self, address: str) -> None:
        self._order = [*(other for other in self._order if other != address), address]

    async def _on_io_thread(self, function: Callable[..., Awaitable[T]], *args: Any, seconds: float) -> T:
        """Await a coroutine of the I/O thread; after `seconds` it is left to its own time-outs."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()

        def settle(outcome: Any) -> None:
            if waiter.done():
                return
            if isinstance(outcome, BaseException):
                waiter.set_exception(outcome)
            else:
                waiter.set_result(outcome)

        def hand_over(outcome: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, outcome)

        try:
            future = self._net.call_soon_with_future(function, *args)
        except RuntimeError as error:
            raise KafkaUnreachableError(f"the connections are closed ({error})") from error
        future.add_both(hand_over)
        try:
            async with asyncio.timeout(seconds + RETRY_SECONDS):
                return await waiter
        except TimeoutError as error:
            raise KafkaUnreachableError(f"no answer within {seconds:.1f} s") from error


class _Lane:
    """One connection a server, made when first needed. `nodes` are kafka-python's names of the servers."""

    def __init__(self, net: NetworkSelector, servers: Sequence[str], tls: ssl.SSLContext | None) -> None:
        secured = {"security_protocol": "SSL", "ssl_context": tls} if tls is not None else {}
        self.manager = KafkaConnectionManager(net, bootstrap_servers=list(servers), **_CONFIG, **secured)
        self.nodes = {f"{node.host}:{node.port}": node.node_id for node in self.manager.cluster.bootstrap_brokers()}

    def broker(self, address: str, deadline: float) -> Broker:
        return Broker(self.manager, self.nodes[address], address, deadline)

    def backoff(self, address: str) -> float:
        """Seconds before a server that failed may be asked again (half a second at most)."""
        return float(self.manager.connection_delay(self.nodes[address]))

    def is_backing_off(self, address: str) -> bool:
        return self.backoff(address) > 0


async def _alive(broker: Broker) -> str:
    await broker.send(ApiVersionsRequest(client_software_name="kfleet", client_software_version="0", min_version=3))
    return broker.address


class _AllDeadError(KafkaUnreachableError):
    """Every server refused the connection: asking again at once would not help."""


_SILENCE = (kafka_errors.KafkaTimeoutError, kafka_errors.RequestTimedOutError)


def _is_transport(error: kafka_errors.KafkaError) -> bool:
    return isinstance(
        error,
        kafka_errors.KafkaConnectionError
        | kafka_errors.NodeNotReadyError
        | kafka_errors.KafkaTimeoutError
        | kafka_errors.RequestTimedOutError
        | kafka_errors.Cancelled
        | kafka_errors.CorrelationIdError,
    )


def _reason(error: kafka_errors.KafkaError) -> str:
    return str(error.args[0]) if error.args else type(error).__name__
