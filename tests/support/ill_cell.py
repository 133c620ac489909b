"""A cluster on fakes whose nodes can be made ill: by version, by node, for a while. What it can bear is watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.simulation import KEY, DieAt, Namespace, run_until_ready, service, some_topic

from controlplane.api import names

OLD, NEW = "4.2.0", "4.3.1"
Ill = Callable[[int, str], bool]
"""Whether a node (id) crashes on a version."""


def nobody(_: int, __: str) -> bool:
    return False


class IllNamespace(Namespace):
    """`ill` pods crash for as long as they are, `slow` brokers stay out of sync. `crowded` counts turns in which more
    than one node was not up."""

    def __init__(self) -> None:
        super().__init__()
        self.ill: Ill = nobody
        self.slow: set[int] = set()
        self.crowded = 0
        self.versions: dict[int, list[str]] = {}

    def turn(self) -> None:
        super().turn()
        for partition in (one for topic in self.kafka.topics.values() for one in topic.partitions):
            partition.isr = tuple(node for node in partition.isr if node not in self.slow) or partition.isr
        self.crowded += len(self.kafka.up) < len(self.kafka.ids) - 1
        for (plural, _, _), obj in self.kube.objects.items():
            if plural == "pods":
                seen = self.versions.setdefault(int(obj["metadata"]["labels"][names.NODE_ID]), [])
                if not seen or seen[-1] != version_of(obj):
                    seen.append(version_of(obj))

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        if not self.ill(node, version_of(pod)):
            super()._run(pod, node, has_peers=has_peers)
            return
        super()._run(pod, node, has_peers=False)
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
        pod["status"]["containerStatuses"] = [{"name": "kafka", "restartCount": 1, "state": {"waiting": waiting}}]
        self.kafka.stop_broker(node)

    def running(self) -> list[str]:
        """Versions of all pods, by node id."""
        pods = [obj for (plural, _, _), obj in self.kube.objects.items() if plural == "pods"]
        return [version_of(pod) for pod in sorted(pods, key=lambda p: int(p["metadata"]["labels"][names.NODE_ID]))]

    async def condition(self, kind: str) -> dict[str, Any]:
        conditions = (await self.status()).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {"status": "Absent", "reason": "", "message": ""})

    async def passes(self, number: int, *, identity: str = "one") -> None:
        """With an operator begun anew."""
        one = service(self, DieAt(), identity=identity)
        for _ in range(number):
            self.turn()
            await one.reconcile(KEY)


def version_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["annotations"][names.KAFKA_VERSION])


@dataclass(frozen=True)
class Rollout:
    """`spec.rollout` of these clusters: a fault counts after five seconds, which are five turns."""

    soak: str = "10s"
    fault_after: str = "5s"
    on_fault: str = "RollBack"
    retry_token: str = ""

    def spec(self) -> dict[str, Any]:
        return {
            "soak": self.soak,
            "faultAfter": self.fault_after,
            "onFault": self.on_fault,
            "retryToken": self.retry_token,
        }


async def on_old(rollout: Rollout | None = None) -> IllNamespace:
    """A healthy cluster of three combined nodes on the old version."""
    namespace = IllNamespace()
    await namespace.declare(version=OLD, rollout=(rollout or Rollout()).spec())
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    namespace.crowded = 0
    return namespace
