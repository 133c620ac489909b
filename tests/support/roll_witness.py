"""Who watches a roll: one thread asks the brokers about ISRs and quorum all the time, one file says what was stopped.

The witness talks to Kafka alone, not to the API server, and shares nothing with the operator but the admin's library.
What the operator stopped stands in the API server's audit log, which misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from support.roll_judge import Sighting, Stop

from controlplane.adapters.kafka.admin import KafkaPythonAdmin
from controlplane.adapters.kafka.connections import Connections
from controlplane.ports import KafkaError

LOOK_SECONDS = 0.3
TIMEOUT_SECONDS = 6.0
CAUGHT_UP_SECONDS = 2.0
"""The operator's own default (`KFLEET_VOTER_CAUGHT_UP_SECONDS`)."""


class Witness:
    """Looks from `start` to `stop`; `sightings` is complete afterwards. Times when nobody answered leave none."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = list(servers)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look()), name="witness", daemon=True)
        self.sightings: list[Sighting] = []
        self.unanswered = 0

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.sightings:
            assert self._thread.is_alive(), "the witness died"
            assert time.monotonic() < deadline, "the witness sees nothing"
            time.sleep(0.1)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(TIMEOUT_SECONDS * 2)

    def longest_gap_s(self) -> float:
        ends = [one.ended for one in self.sightings]
        return max((b - a for a, b in pairwise(ends)), default=0.0)

    async def _look(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            admin = KafkaPythonAdmin(
                Connections(self._servers, pool), timeout=TIMEOUT_SECONDS, voter_caught_up_seconds=CAUGHT_UP_SECONDS
            )
            try:
                while not self._over.is_set():
                    await self._once(admin)
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                await admin.close()

    async def _once(self, admin: KafkaPythonAdmin) -> None:
        began = time.time()
        try:
            kafka, quorum = await admin.observe()
        except KafkaError:
            self.unanswered += 1
            return
        self.sightings.append(
            Sighting(
                began=began,
                ended=time.time(),
                partitions=kafka.partitions,
                brokers=frozenset(broker.id for broker in kafka.brokers),
                voters=frozenset(voter.id for voter in quorum.voters),
                caught_up=frozenset(voter.id for voter in quorum.voters if voter.caught_up),
                fetched={voter.id: voter.caught_up_at or 0.0 for voter in quorum.voters},
            )
        )


class Stops:
    """Pods of one namespace that `user` deleted with success, and when each was next bound, from the audit log and what
    was rotated out of it."""

    def __init__(self, audit_log: Path, user: str, namespace: str) -> None:
        self._log, self._user, self._namespace = audit_log, user, namespace
        self._read: dict[int, int] = {}
        """Inode to how much of it was read."""
        self._found: list[Stop] = []
        self._bound: list[tuple[int, float]] = []
        self.since(0.0)
        self._begin = time.time()

    def all(self) -> list[Stop]:
        """Those since this object was made."""
        return self.since(self._begin)

    def since(self, moment: float) -> list[Stop]:
        for path in sorted(self._log.parent.glob(f"{self._log.stem}*{self._log.suffix}"), key=lambda p: p == self._log):
            self._take(path)
        found = sorted((stop for stop in self._found if stop.at >= moment), key=lambda stop: stop.at)
        return [replace(stop, again=self._again(stop)) for stop in found]

    def _again(self, stop: Stop) -> float | None:
        return min((at for node, at in self._bound if node == stop.node and at > stop.at), default=None)

    def _take(self, path: Path) -> None:
        with path.open("rb") as log:
            inode = path.stat().st_ino
            log.seek(self._read.get(inode, 0))
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read[inode] = self._read.get(inode, 0) + len(whole)
        for line in whole.splitlines():
            if b'"pods"' in line and (b'"verb":"delete"' in line or b'"subresource":"binding"' in line):
                self._note(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        ref = event.get("objectRef") or {}
        done = 200 <= int(event.get("responseStatus", {}).get("code", 0)) < 300
        if not (done and ref.get("resource") == "pods" and ref.get("namespace") == self._namespace and ref.get("name")):
            return
        at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        node = ref["name"].rpartition("-")[2]
        if ref.get("subresource") == "binding":
            self._bound.append((int(node), at))
        elif event["verb"] == "delete" and event["user"]["username"] == self._user:
            self._found.append(Stop(at, int(node)))
