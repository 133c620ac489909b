"""The Service proxy: follows Services, Pods and faults, and keeps one carrier a Service in step with them.

It is the load balancer as well: a Service of type LoadBalancer gets an address of the sandbox in its status, once all
Services are known, and keeps it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import time
from collections import defaultdict
from collections.abc import Coroutine
from ipaddress import IPv4Network
from typing import Any

from controlplane.adapters.kubernetes.resources import PODS, SERVICES
from controlplane.ports import KubeApi, KubeError, Object, WatchEvent
from controlplane.sandbox import fault_state
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.follow import follow
from controlplane.sandbox.proxy.balancers import choose
from controlplane.sandbox.proxy.carrier import Cut, ServiceCarrier
from controlplane.sandbox.proxy.endpoints import Endpoint, Name, Network, PodRecord, ServiceRecord
from controlplane.services.events import EventRecorder

FAULT_POLL_SECONDS = 0.2
BIND_RETRY_SECONDS = 2.0
TELL_AGAIN_SECONDS = 300.0
CUTS: dict[str, Cut] = {"service": "service", "refuse": "refuse"}

log = logging.getLogger(__name__)


class ServiceProxy:
    """Level-triggered: what is open depends only on the Services, Pods and faults seen last.

    While the API server is away it goes on with what it knew.
    """

    def __init__(self, kube: KubeApi, events: EventRecorder, paths: SandboxPaths) -> None:
        self._kube, self._events, self._paths = kube, events, paths
        self._objects: dict[Name, Object] = {}
        self._carriers: dict[Name, ServiceCarrier] = {}
        self._pods: defaultdict[str, dict[str, PodRecord]] = defaultdict(dict)
        self._faults: dict[Name, Cut] = {}
        self._posts: set[asyncio.Task[None]] = set()
        self._told: dict[tuple[Name, str], float] = {}
        self._retries: dict[Name, asyncio.TimerHandle] = {}
        config = paths.load()
        self._balancers = IPv4Network(config.balancer_cidr)
        self._network = Network(nodes=config.node_addresses, balancers=self._balancers)
        self._balanced: dict[Name, str] = {}
        self._announcing: set[Name] = set()
        self._knows_services = False

    async def run(self) -> None:
        """Until cancelled; then every listener and connection is closed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_faults())
                group.create_task(self._follow_services())
                group.create_task(self._follow_pods())
        finally:
            for carrier in self._carriers.values():
                carrier.shut_down()

    async def _follow_services(self) -> None:
        async for event in follow(self._kube, SERVICES):
            if event.type != "SYNCED":
                self.service_event(event)
                continue
            self._knows_services = True
            for name in list(self._carriers):
                self._balance(name)

    async def _follow_pods(self) -> None:
        async for event in follow(self._kube, PODS):
            if event.type != "SYNCED":
                self.pod_event(event)

    async def _follow_faults(self) -> None:
        """A stat every 200 ms is cheaper than a thread or a dependency, and quick enough for a person and a drill."""
        seen: tuple[int, int] | None = None
        while True:
            try:
                stat = fault_state.faults_file(self._paths).stat()
                now = (stat.st_ino, stat.st_mtime_ns)
            except FileNotFoundError:
                now = None
            if now != seen:
                seen = now
                self.read_faults()
            await asyncio.sleep(FAULT_POLL_SECONDS)

    def service_event(self, event: WatchEvent) -> None:
        meta = event.object["metadata"]
        name = Name(meta["namespace"], meta["name"])
        record = None if event.type == "DELETED" else ServiceRecord.of(event.object, self._network)
        if record is None:
            self._drop(name)
            return
        carrier = self._carriers.get(name)
        if carrier is not None and carrier.service.uid != record.uid:
            self._drop(name)
            carrier = None
        self._objects[name] = event.object
        if carrier is None:
            carrier = self._carriers[name] = ServiceCarrier(record, self._bind_failed)
            carrier.inject(self._faults.get(name))
        carrier.update(record, self._pods[name.namespace].values())
        for words in record.unsupported:
            self._warn(name, "Unsupported", words)
        self._balance(name)

    def _balance(self, name: Name) -> None:
        """Give a Service its address if it is to have one; none is given before all that are given are known."""
        service = self._carriers[name].service
        if not service.balanced:
            self._balanced.pop(name, None)
        elif service.balancer is not None:
            self._balanced[name] = service.balancer
        elif self._knows_services and name not in self._announcing:
            address = self._balanced.get(name) or choose(self._balancers, name, self._balanced)
            if address is None:
                self._warn(name, "Unsupported", f"type LoadBalancer: no address is left in {self._balancers}")
                return
            self._balanced[name] = address
            self._announcing.add(name)
            self._post(self._announce(service, address))

    async def _announce(self, service: ServiceRecord, address: str) -> None:
        body = {"metadata": {"uid": service.uid}, "status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
        try:
            await self._kube.patch(SERVICES, service.name.name, service.name.namespace, body, subresource="status")
        except KubeError as error:  # such as one that was deleted, of which we shall hear
            log.warning("%s: no address of a load balancer: %s", service.name, error)
            await asyncio.sleep(BIND_RETRY_SECONDS)
            self._announcing.discard(service.name)
            if service.name in self._carriers:
                self._balance(service.name)
        else:
            self._announcing.discard(service.name)

    def pod_event(self, event: WatchEvent) -> None:
        meta = event.object["metadata"]
        pods = self._pods[meta["namespace"]]
        before = pods.pop(meta["uid"], None)
        after = None if event.type == "DELETED" else PodRecord.of(event.object)
        if after is not None:
            pods[meta["uid"]] = after
        if before == after:
            return
        for name, carrier in self._carriers.items():
            service = carrier.service
            if any(pod is not None and service.selects(pod) for pod in (before, after)):
                carrier.update(service, pods.values())
                log.info("%s: endpoints are now %s", name, carrier.endpoints)

    def read_faults(self) -> None:
        """Put the faults of faults.json upon their Services, heal the others; a broken file changes nothing."""
        try:
            active = fault_state.active(self._paths)
        except fault_state.FaultFileError as error:
            log.error("%s", error)  # noqa: TRY400 - the message says all
            return
        self._faults = {Name(*fault.target.split("/", 1)): CUTS[fault.kind] for fault in active if fault.kind in CUTS}
        for name, carrier in self._carriers.items():
            carrier.inject(self._faults.get(name))

    def _drop(self, name: Name) -> None:
        self._objects.pop(name, None)
        self._balanced.pop(name, None)
        if (carrier := self._carriers.pop(name, None)) is not None:
            carrier.close()
            self._told = {key: at for key, at in self._told.items() if key[0] != name}

    def _bind_failed(self, service: ServiceRecord, address: Endpoint, error: OSError) -> None:
        self._warn(service.name, "ListenFailed", bind_advice(address, error))
        if error.errno != errno.EACCES and service.name not in self._retries:
            loop = asyncio.get_running_loop()
            self._retries[service.name] = loop.call_later(BIND_RETRY_SECONDS, self._retry, service.name)

    def _retry(self, name: Name) -> None:
        self._retries.pop(name, None)
        if (carrier := self._carriers.get(name)) is not None:
            carrier.converge()

    def _warn(self, name: Name, reason: str, message: str) -> None:
        now = time.monotonic()
        if now - self._told.get((name, message), -math.inf) < TELL_AGAIN_SECONDS:
            return
        self._told[name, message] = now
        log.warning("%s: %s: %s", name, reason, message)
        self._post(self._events.record(self._objects[name], "Warning", reason, message))

    def _post(self, call: Coroutine[Any, Any, None]) -> None:
        post = asyncio.get_running_loop().create_task(call)
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)


def bind_advice(address: Endpoint, error: OSError) -> str:
    """What a person can do about an address that could not be bound."""
    where = f"{address.address}:{address.port}"
    if error.errno == errno.EACCES:
        return (
            f"cannot listen on {where}: ports below 1024 need root here; give the Service a port of 1024 or more "
            "(its targetPort may stay), or run `sysctl net.ipv4.ip_unprivileged_port_start=0` as root and restart"
        )
    if error.errno == errno.EADDRINUSE:
        return (
            f"cannot listen on {where}: another process holds this port on this machine; stop it "
            "(`ss -ltnp` names it) or change the port; tried again every two seconds"
        )
    return f"cannot listen on {where}: {error.strerror}; tried again every two seconds"
