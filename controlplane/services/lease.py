"""One active operator by Lease (coordination.k8s.io), after client-go's leaderelection.

The holder is sure of its Lease until `duration` seconds after it *sent* its last successful renewal, on its own
monotonic clock; others may take it only after having seen no renewal for the Lease's duration on theirs. A holder that
is no longer sure must not write: `sure()` is asked before every mutation, and the process ends when it says no.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NoReturn

from controlplane.ports import (
    AlreadyExistsError,
    Clock,
    ConflictError,
    KubeApi,
    KubeError,
    NotFoundError,
    Object,
    Resource,
)

log = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")


class LeaseLostError(Exception):
    """Another holder has the Lease, or ours could not be renewed in time: stop at once, write nothing more."""


@dataclass
class LeaseHolder:
    """`acquire` waits until the Lease is ours, `hold` renews it and raises LeaseLostError when it is lost.

    A holder of the same identity retakes its Lease at once, so that a crashed operator is back without waiting.
    """

    kube: KubeApi
    clock: Clock
    namespace: str
    name: str
    identity: str
    duration: float
    renew_interval: float
    owner: Object | None = None
    """The object that takes the Lease with it when it goes; in the same namespace."""
    _sure_until: float = field(default=0.0, init=False)
    _seen: tuple[str, float] = field(default=("", 0.0), init=False)

    def sure(self) -> bool:
        return self.clock.monotonic() < self._sure_until

    def fresh(self) -> bool:
        """Renewed within the last `renew_interval`: no need to ask again yet."""
        return self.clock.monotonic() < self._sure_until - self.duration + self.renew_interval

    async def take(self, *, also: Collection[str] = ()) -> str | None:
        """Take or renew once; the other holder's identity when there is one. Raises KubeError.

        `also` are identities whose Lease is ours to take at once.
        """
        return await self._try(also)

    async def acquire(self) -> None:
        waiting = ""
        while True:
            try:
                if (holder := await self._try()) is None:
                    log.info("holding Lease %s/%s as %s", self.namespace, self.name, self.identity)
                    return
                if holder != waiting:
                    waiting = holder
                    log.info("waiting: Lease %s/%s is held by %s", self.namespace, self.name, holder)
            except KubeError as error:
                log.warning("Lease %s/%s: %s", self.namespace, self.name, error)
            await asyncio.sleep(min(self.renew_interval, 1.0))

    async def hold(self) -> None:
        while True:
            await asyncio.sleep(self.renew_interval)
            if not self.sure():
                raise LeaseLostError(f"Lease {self.namespace}/{self.name} was not renewed within {self.duration:g} s")
            try:
                # One renewal that hangs must leave time for another.
                async with asyncio.timeout(max(self.renew_interval, self.duration / 3)):
                    holder = await self._try()
            except (KubeError, TimeoutError) as error:
                log.warning("Lease %s/%s not renewed: %s", self.namespace, self.name, error or "no answer in time")
                continue
            if holder is not None:
                raise LeaseLostError(f"Lease {self.namespace}/{self.name} was taken by {holder}")

    async def release(self) -> None:
        """Let a successor in at once; a Lease that is no longer ours is left alone."""
        lease = await self.kube.get(LEASES, self.name, self.namespace)
        if lease.get("spec", {}).get("holderIdentity") == self.identity:
            lease["spec"]["holderIdentity"] = ""
            await self.kube.replace(LEASES, lease)
        self._sure_until = 0.0

    def assume(self) -> None:
        """Hold it for one duration without a Lease, where none can be made and nobody else can be there."""
        self._sure_until = self.clock.monotonic() + self.duration

    async def _try(self, also: Collection[str] = ()) -> str | None:
        """Take or renew; returns the other holder's identity when there is one. Raises KubeError."""
        sent = self.clock.monotonic()
        try:
            lease = await self.kube.get(LEASES, self.name, self.namespace)
        except NotFoundError:
            lease = {"metadata": {"name": self.name, "namespace": self.namespace}, "spec": {}}
        spec = lease["spec"]
        holder = spec.get("holderIdentity") or ""
        if holder not in {"", self.identity, *also} and not self._expired(spec):
            return str(holder)
        try:
            await self._write(lease, taken_from=holder)
        except (AlreadyExistsError, ConflictError):
            return "another operator that was faster"
        self._sure_until = sent + self.duration
        return None

    def _expired(self, spec: Object) -> bool:
        """Unchanged for a whole duration since we first saw this renewal, by our own clock (skew does not count)."""
        stamp = f"{spec.get('holderIdentity')}/{spec.get('renewTime')}"
        now = self.clock.monotonic()
        if self._seen[0] != stamp:
            self._seen = (stamp, now)
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds") or self.duration)

    async def _write(self, lease: Object, *, taken_from: str) -> None:
        now = dt.datetime.fromtimestamp(self.clock.now(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = lease["spec"]
        if taken_from != self.identity:
            if self.owner is not None:
                lease["metadata"]["ownerReferences"] = [owner_reference(self.owner)]
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        spec |= {
            "holderIdentity": self.identity,
            "renewTime": now,
            "leaseDurationSeconds": math.ceil(self.duration),
        }
        if "resourceVersion" in lease["metadata"]:
            await self.kube.replace(LEASES, lease)
        else:
            await self.kube.create(LEASES, lease)


@dataclass
class LeaseGuard:
    """An interceptor: before every mutation the Lease is surely ours, or `end` is called and never returns.

    Whoever acts under a Lease that may be another's must not write once more, clean-up included.
    """

    end: Callable[[str], NoReturn]
    lease: LeaseHolder | None = None

    def before(self, call: str) -> None:
        if self.lease is not None and not self.lease.sure():
            self.end(f"the Lease is no longer surely ours; not doing: {call}")

    def after(self, call: str) -> None:
        """Nothing to do."""


def owner_reference(owner: Object) -> Object:
    meta = owner["metadata"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
