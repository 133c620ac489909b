"""Ports and loopback networks, claimed so that no two sandboxes of a user meet.

A sandbox's claim is its own sandbox.json; a register of their roots, outside any state directory, makes every claim of
this user visible to every other (tests keep their state apart). Claims are taken under one lock. Other users, and
whatever else listens, are seen by trying: a port that cannot be bound and a network somebody listens in are not free.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controlplane.sandbox.config import SandboxConfig, SandboxPaths, state_home
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.files import write_private
from controlplane.sandbox.once import locked

PORT_FIELDS = ("api_port", "etcd_port", "etcd_peer_port", "controller_manager_port", "scheduler_port")
PORTS = range(20000, 30000)
"""Below Linux's ephemeral ports (32768 and up): no outgoing connection may sit on one when a sandbox comes back."""

SECOND_BYTES = range(16, 254, 2)
"""127.x.0.0/16 for pods and 127.(x+1).0.0/16 for Services; 127.0 and 127.1 are left to the system."""


def runtime_home() -> Path:
    """What all sandboxes of this user on this machine share while it runs: $KFLEET_RUNTIME, else /tmp/kfleet-<uid>."""
    home = Path(os.environ.get("KFLEET_RUNTIME") or f"/tmp/kfleet-{os.getuid()}")  # noqa: S108 - ownership is checked
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_uid != os.getuid() or home.is_symlink():
            raise SandboxError(f"{home} belongs to somebody else; set KFLEET_RUNTIME to a directory of your own")
    except OSError as error:
        raise SandboxError(f"cannot use {home}: {error.strerror}; set KFLEET_RUNTIME to another directory") from error
    return home


def claim(paths: SandboxPaths, overrides: Mapping[str, Any], mine: frozenset[int]) -> SandboxConfig:
    """The sandbox's configuration, written to sandbox.json: the one it had wherever that is still free, else a new one.

    `overrides` are fields of SandboxConfig; `mine` are ports that this sandbox's own live processes hold.
    Raises SandboxError.
    """
    home = runtime_home()
    with locked(home / "claims.lock"):
        others = _others(home, paths.root)
        kept = load(paths)
        taken_ports = {getattr(other, field) for other in others for field in PORT_FIELDS}
        ports = _ports(kept, taken_ports, mine)
        networks = _networks(kept, others)
        values = (kept.model_dump() if kept else {"name": paths.root.name}) | ports | networks | dict(overrides)
        try:
            config = SandboxConfig.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise SandboxError(f"sandbox setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if config != kept:
            paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(paths.config_file, (config.model_dump_json(indent=2) + "\n").encode())
        _register(home, paths.root)
    return config


def forget(root: Path) -> None:
    """Take a purged sandbox off the register; no other's claim changes."""
    home = runtime_home()
    with locked(home / "claims.lock"):
        roots = [known for known in _roots(home) if known != root]
        write_private(home / "sandboxes.json", json.dumps([str(known) for known in roots]).encode())


def load(paths: SandboxPaths) -> SandboxConfig | None:
    """None when there is no such sandbox. Raises SandboxError when its configuration cannot be read."""
    try:
        return paths.load()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SandboxError(
            f"{paths.config_file} cannot be read ({str(error).splitlines()[0]}); "
            f"remove the sandbox with: kfleet sandbox down --purge --name {paths.root.name}"
        ) from error


def known() -> list[str]:
    """Names of the sandboxes in this state directory."""
    directory = state_home() / "sandboxes"
    return sorted(file.parent.name for file in directory.glob("*/sandbox.json"))


def require(paths: SandboxPaths) -> SandboxConfig:
    """The sandbox's configuration; raises SandboxError, naming the ones there are, when it does not exist."""
    config = load(paths)
    if config is None:
        others = f" (there is: {', '.join(known())})" if known() else ""
        name = paths.root.name
        option = "" if name == "default" else f" --name {name}"
        raise SandboxError(f"no sandbox {name}{others}; start it with: kfleet sandbox up{option}")
    return config


def _others(home: Path, root: Path) -> list[SandboxConfig]:
    found = []
    for other in _roots(home):
        if other != root:
            try:
                config = load(SandboxPaths(other))
            except SandboxError:
                continue  # it holds nothing that can be known; its live processes are seen by trying
            if config is not None:
                found.append(config)
    return found


def _roots(home: Path) -> list[Path]:
    register = home / "sandboxes.json"
    known = [Path(text) for text in json.loads(register.read_text())] if register.exists() else []
    here = state_home() / "sandboxes"
    known += sorted(entry for entry in here.iterdir() if entry.is_dir()) if here.is_dir() else []
    return [root for root in dict.fromkeys(known) if (root / "sandbox.json").exists()]


def _register(home: Path, root: Path) -> None:
    roots = _roots(home)
    write_private(home / "sandboxes.json", json.dumps([str(known) for known in dict.fromkeys([*roots, root])]).encode())


def _ports(kept: SandboxConfig | None, taken: set[int], mine: frozenset[int]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    candidates: Iterator[int] = iter(PORTS)
    for field in PORT_FIELDS:
        port: int | None = getattr(kept, field) if kept else None
        if port is None or port in taken or not (port in mine or _can_bind(port)):
            port = next((p for p in candidates if p not in taken | set(chosen.values()) and _can_bind(p)), None)
        if port is None:
            raise SandboxError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")
        chosen[field] = port
    return chosen


def _networks(kept: SandboxConfig | None, others: list[SandboxConfig]) -> dict[str, str]:
    taken = {network for other in others for network in (other.pod_cidr, other.service_cidr)}
    if kept is not None:
        # Services keep their addresses in etcd, so another network would break each of them.
        if lost := taken & {kept.pod_cidr, kept.service_cidr}:
            raise SandboxError(
                f"another sandbox took {', '.join(sorted(lost))} while this one was down; "
                f"stop that one, or start afresh with: kfleet sandbox down --purge --name {kept.name}"
            )
        return {"pod_cidr": kept.pod_cidr, "service_cidr": kept.service_cidr}
    busy = _listening_second_bytes()
    for byte in SECOND_BYTES:
        pods, services = f"127.{byte}.0.0/16", f"127.{byte + 1}.0.0/16"
        if not taken & {pods, services} and not busy & {byte, byte + 1}:
            return {"pod_cidr": pods, "service_cidr": services}
    raise SandboxError("no two free networks are left in 127.0.0.0/8; purge a sandbox that is no longer needed")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listening_second_bytes() -> set[int]:
    """x of every 127.x.y.z somebody on this machine listens on (/proc/net/tcp: little-endian hex, 0A is TCP_LISTEN)."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        address = bytes.fromhex(line.split()[1].partition(":")[0])[::-1]
        if line.split()[3] == "0A" and address[0] == 127:
            found.add(address[1])
    return found
