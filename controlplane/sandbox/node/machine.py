"""What a process node says about itself: its software, and as capacity the whole machine (or what settings say)."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from controlplane.ports import Object
from controlplane.sandbox.config import SandboxConfig
from controlplane.sandbox.node import procfs

KUBELET_VERSION = "v1.34.4"
RUNTIME_VERSION = "process://0.1.0"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def allocatable(config: SandboxConfig) -> dict[str, str]:
    disk = os.statvfs("/")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": config.node_cpu or str(os.cpu_count() or 1),
        "memory": config.node_memory or f"{memory // 1024}Ki",
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        "pods": str(config.node_pods),
    }


def node_info() -> Object:
    release = Path("/etc/os-release")
    names = (
        dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line) if release.exists() else {}
    )
    machine_id = Path("/etc/machine-id")
    return {
        "architecture": architecture(),
        "bootID": procfs.boot_id(),
        "containerRuntimeVersion": RUNTIME_VERSION,
        "kernelVersion": platform.release(),
        "kubeProxyVersion": "",
        "kubeletVersion": KUBELET_VERSION,
        "machineID": machine_id.read_text().strip() if machine_id.exists() else "",
        "operatingSystem": "linux",
        "osImage": names.get("PRETTY_NAME", "Linux").strip('"'),
        "systemUUID": "",
    }
