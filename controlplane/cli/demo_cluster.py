"""What the demo sees of its cluster and does to it: reads over the API, changes things with kubectl as a user would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.resources import DEPLOYMENTS, NAMESPACES, PERSISTENT_VOLUMES, PODS
from controlplane.api import conditions as c
from controlplane.api import kafka_cluster, kafka_topic, names
from controlplane.api.group import GROUP, VERSION
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import USERS
from controlplane.ports import ConflictError, ForbiddenError, KubeError, NotFoundError, Object, Resource
from controlplane.sandbox.progress import Progress
from controlplane.services.access.secrets import SECRETS, texts

POLL_SECONDS = 0.5
KUBECTL_SECONDS = 180
HURRIED_SECONDS = 3
NAMESPACE = "kafka"
CLUSTER = "quickstart"
TOPIC = "orders"
USER = "orders-app"
"""As examples/quickstart names them."""
CLUSTERS = Resource(GROUP, VERSION, "kafkaclusters", kafka_cluster.KIND)
TOPICS = Resource(GROUP, VERSION, "kafkatopics", kafka_topic.KIND)
MADE_BY_DEMO = f"{GROUP}/demo"
"""On the namespace: what the demo made it may take down again; nothing else."""

Look = Callable[[], Awaitable[tuple[bool, str]]]
"""Whether it is there, and what is missing."""


class DemoCluster:
    def __init__(self, kube: KubeClient, kubectl: Path, kubeconfig: Path, progress: Progress) -> None:
        self.kube, self._kubectl, self._kubeconfig, self.progress = kube, kubectl, kubeconfig, progress

    def kubectl(self, *arguments: str) -> str:
        """Shown as typed, then run. Raises CliError with kubectl's own words."""
        self.progress.say(f"$ kubectl {shlex.join(arguments)}")
        done = self._run(arguments)
        if done.returncode:
            raise CliError(f"kubectl {arguments[0]} failed: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            self.progress.say(f"  {line}")
        return done.stdout

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"KUBECONFIG": str(self._kubeconfig)}
        command = [str(self._kubectl), *arguments]
        try:
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise CliError(f"kubectl {arguments[0]} gave no answer within {KUBECTL_SECONDS} s") from None

    async def wait(
        self,
        what: str,
        usual: str,
        look: Look,
        limit: float,
        *,
        tell: bool = True,
        begin: float | None = None,
        alive: Callable[[], None] | None = None,
    ) -> float:
        """Seconds from `begin` (now) until `look` says so.

        Says what is missing now and then, with `tell` also whenever it changes; after `limit` it raises CliError and
        shows the state of things. `alive` may raise to end the wait.
        """
        self.progress.say(f"waiting for {what} (usually {usual})")
        begin = time.monotonic() if begin is None else begin
        shown = missing = ""
        while True:
            try:
                done, missing = await look()
            except (NotFoundError, ForbiddenError):
                raise
            except KubeError as error:
                done, missing = False, f"the API server: {error.message}"
            elapsed = time.monotonic() - begin
            if done:
                self.progress.say(f"  {what}: after {elapsed:.1f} s")
                return elapsed
            if alive is not None:
                alive()
            if tell and missing != shown:
                self.progress.say(f"  {elapsed:4.0f} s  {missing}")
                shown = missing
            if elapsed > limit:
                self.dump()
                raise CliError(f"{what}: not within {limit:g} s ({missing}); the state of things is above")
            self.progress.beat(f"  {elapsed:4.0f} s  {missing}")
            await asyncio.sleep(POLL_SECONDS)

    async def operator_ready(self) -> tuple[bool, str]:
        status = (await self.kube.get(DEPLOYMENTS, names.OPERATOR, names.OPERATOR_NAMESPACE)).get("status", {})
        return status.get("readyReplicas", 0) > 0, "its pod is not ready yet"

    async def cluster(self) -> Object:
        return await self.kube.get(CLUSTERS, CLUSTER, NAMESPACE)

    async def ready(self) -> tuple[bool, str]:
        """This generation of the cluster is fully in effect."""
        found = await self.cluster()
        nodes = found.get("status", {}).get("nodes", [])
        done, why = ready_condition(found)
        return done, f"{sum(bool(node['ready']) for node in nodes)} of {len(nodes)} nodes ready; {why}"

    async def topic_ready(self) -> tuple[bool, str]:
        return ready_condition(await self.kube.get(TOPICS, TOPIC, NAMESPACE))

    async def user_ready(self) -> tuple[bool, str]:
        return ready_condition(await self.kube.get(USERS, USER, NAMESPACE))

    async def user_secret(self) -> dict[str, str]:
        """Never shown: what its clients log in with, by the name of the file."""
        return texts(await self.kube.get(SECRETS, USER, NAMESPACE))

    async def pod_uids(self) -> set[str]:
        """uids of the cluster's pods, those on their way out included."""
        pods = await self.kube.list(PODS, NAMESPACE, labels=f"{names.CLUSTER}={CLUSTER}")
        return {pod["metadata"]["uid"] for pod in pods}

    async def claim_namespace(self) -> None:
        """A fresh namespace: an earlier demo's is taken down first, volumes included. Raises CliError for a namespace
        that the demo did not make."""
        try:
            found = await self.kube.get(NAMESPACES, NAMESPACE)
        except NotFoundError:
            pass
        else:
            if MADE_BY_DEMO not in (found["metadata"].get("annotations") or {}):
                raise CliError(
                    f"namespace {NAMESPACE} of this sandbox was not made by the demo, which would have to delete it; "
                    "run the demo in a sandbox of its own: kfleet demo --name demo2"
                )
            self.progress.say(f"an earlier demo is here: taking down its namespace {NAMESPACE} and its volumes")
            await self._remove_namespace()
        namespace: Object = {"metadata": {"name": NAMESPACE, "annotations": {MADE_BY_DEMO: "true"}}}
        await self.kube.create(NAMESPACES, namespace | {"apiVersion": "v1", "kind": "Namespace"})

    async def _remove_namespace(self) -> None:
        for volume in await self.kube.list(PERSISTENT_VOLUMES):
            if (volume["spec"].get("claimRef") or {}).get("namespace") == NAMESPACE:
                reclaim: Object = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
                await self.kube.patch(PERSISTENT_VOLUMES, volume["metadata"]["name"], None, reclaim)
        with contextlib.suppress(ConflictError):  # on its way out already
            await self.kube.delete(NAMESPACES, NAMESPACE)

        async def gone() -> tuple[bool, str]:
            try:
                found = await self.kube.get(NAMESPACES, NAMESPACE)
            except NotFoundError:
                return True, ""
            await self._hurry_pods()
            left = [
                condition["message"]
                for condition in found.get("status", {}).get("conditions", [])
                if condition["status"] == "True" and "Remaining" in condition["type"]
            ]
            return False, "; ".join(left) or "terminating"

        await self.wait("the earlier demo to be gone", "20 s", gone, 600)

    async def _hurry_pods(self) -> None:
        """Their data goes with them, and brokers without controllers cannot hand over: no use in waiting for them."""
        for pod in await self.kube.list(PODS, NAMESPACE):
            if pod["metadata"].get("deletionGracePeriodSeconds", HURRIED_SECONDS + 1) > HURRIED_SECONDS:
                with contextlib.suppress(ConflictError, NotFoundError):
                    await self.kube.delete(
                        PODS,
                        pod["metadata"]["name"],
                        NAMESPACE,
                        uid=pod["metadata"]["uid"],
                        grace_seconds=HURRIED_SECONDS,
                    )

    def dump(self) -> None:
        """What a person would look at first, on stderr."""
        kinds = "kafkaclusters.kfleet.dev,kafkatopics.kfleet.dev,kafkausers.kfleet.dev,pods,persistentvolumeclaims"
        conditions = (
            '{range .items[*]}{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\\n"}{end}{end}'
        )
        for arguments in (
            ("get", kinds, "-n", NAMESPACE, "-o", "wide"),
            ("get", CLUSTERS.plural + "." + GROUP, "-n", NAMESPACE, "-o", f"jsonpath={conditions}"),
            ("get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"),
            ("get", "pods", "-n", names.OPERATOR_NAMESPACE, "-o", "wide"),
            ("logs", "-n", names.OPERATOR_NAMESPACE, f"deployment/{names.OPERATOR}", "--tail=20"),
        ):
            done = self._run(arguments)
            lines = (done.stdout or done.stderr).splitlines()
            print(f"--- kubectl {' '.join(arguments)}", *lines[-25:], sep="\n", file=sys.stderr, flush=True)


def condition_of(found: Object, kind: str) -> Object:
    conditions: list[Object] = found.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {"status": "Unknown"})


def ready_condition(found: Object) -> tuple[bool, str]:
    condition: dict[str, Any] = condition_of(found, c.READY)
    current = condition.get("observedGeneration") == found["metadata"]["generation"]
    why = f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
    return condition["status"] == "True" and current, why or "no word from the operator yet"
