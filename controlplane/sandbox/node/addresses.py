"""Pod addresses: each (namespace, pod name) keeps its own loopback address for the life of the sandbox.

One file for all nodes, `<root>/pod-addresses.json`, under flock(2). Network, broadcast and the .0 and .255 hosts of the
/16 are never given out, nor those that are for nodes and load balancers. When it is full the address released longest
ago is taken over.
"""

from __future__ import annotations

import fcntl
import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controlplane.sandbox.config import BALANCERS_BYTE, NODES_BYTE
from controlplane.sandbox.node.records import read_json, write_json


class AddressesExhaustedError(RuntimeError):
    """Every address of the sandbox's pod network belongs to a living pod."""


class Addresses:
    def __init__(self, root: Path, cidr: str) -> None:
        self._file = root / "pod-addresses.json"
        self._lock = root / "pod-addresses.lock"
        self._network = ipaddress.IPv4Network(cidr)

    def claim(self, namespace: str, pod: str) -> str:
        """The pod's address, allocated at the first call. Raises AddressesExhaustedError."""
        with self._locked() as table:
            key = f"{namespace}/{pod}"
            entry = table.get(key) or {"address": self._free(table)}
            table[key] = {"address": entry["address"], "released": None}
            return str(entry["address"])

    def release(self, namespace: str, pod: str) -> None:
        """The pod is gone; its address stays reserved for its name while there are others."""
        with self._locked() as table:
            if entry := table.get(f"{namespace}/{pod}"):
                entry["released"] = time.time()

    def _free(self, table: dict[str, Any]) -> str:
        taken = {entry["address"] for entry in table.values()}
        for host in self._hosts():
            if host not in taken:
                return host
        released = [(entry["released"], key) for key, entry in table.items() if entry["released"] is not None]
        if not released:
            raise AddressesExhaustedError(f"no free address in {self._network}: {len(table)} pods hold all of them")
        return str(table.pop(min(released)[1])["address"])

    def _hosts(self) -> Iterator[str]:
        for host in self._network.hosts():
            if host.packed[3] not in (0, 255) and host.packed[2] not in (BALANCERS_BYTE, NODES_BYTE):
                yield str(host)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = read_json(self._file) or {}
            table = {key: dict(entry) for key, entry in before.items()}
            yield table
            if table != before:
                write_json(self._file, table)
