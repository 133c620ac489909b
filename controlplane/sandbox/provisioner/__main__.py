"""`python -m controlplane.sandbox.provisioner --root ROOT`: local volumes of one sandbox, with its own identity."""

from __future__ import annotations

import sys
from pathlib import Path

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.part import main
from controlplane.sandbox.provisioner.server import Provisioner
from controlplane.services.events import EventRecorder


async def serve(root: Path) -> None:
    paths = SandboxPaths(root)
    config = from_kubeconfig(paths.kubeconfig("provisioner"))
    async with KubeClient(config, field_manager="kfleet-sandbox-provisioner") as kube:
        events = EventRecorder(kube, SystemClock(), component="kfleet-sandbox-provisioner")
        await Provisioner(kube, events, paths).run()


if __name__ == "__main__":
    sys.exit(main("provisioner", serve))
