"""`kfleet demo` up to its canary, as a program: `short_demo.py ROOT PORT waits|fails [OPTION...]`.

There is no sandbox and no cluster; the canary is the real one, which asks for brokers at PORT of this machine until it
gives up. Then the demo waits for records that never come, or fails. It hears SIGHUP also where
tests run under nohup, which ignores that for all that they start.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from controlplane.adapters.kubernetes import client, config
from controlplane.cli import demo_cluster, sandbox
from controlplane.cli.errors import CliError
from controlplane.cli.main import run
from controlplane.domain.users.secret import LIBRDKAFKA
from controlplane.sandbox import build, images, lifecycle

ROOT, PORT, HOW = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


class Paths:
    root = ROOT

    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"


class Kube:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Cluster(demo_cluster.DemoCluster):
    def kubectl(self, *arguments: str) -> str:
        return " ".join(arguments)

    async def wait(self, what: str, *_: Any, **__: Any) -> float:
        if what == "records to be acknowledged":
            if HOW == "fails":
                raise CliError("it failed")
            self.progress.say("waiting")
            await asyncio.Event().wait()
        return 0.0

    async def claim_namespace(self) -> None:
        pass

    async def cluster(self) -> dict[str, Any]:
        return {"status": {"nodes": [{"id": 0, "pool": "brokers", "roles": ["Broker"]}]}}

    async def pod_uids(self) -> set[str]:
        return set()

    async def user_secret(self) -> dict[str, str]:
        return {LIBRDKAFKA: json.dumps({"bootstrap.servers": f"127.0.0.1:{PORT}"})}


def up(paths: Paths, _: object) -> None:
    (paths.root / "up").touch()


def down(paths: Paths, _: object, *, purge: bool) -> None:
    assert purge
    (paths.root / "up").unlink()


signal.signal(signal.SIGHUP, signal.SIG_DFL)
with (
    patch.object(images, "prepare"),
    patch.object(build, "ensure_control_plane", return_value=ROOT),
    patch.object(lifecycle, "up", up),
    patch.object(lifecycle, "down", down),
    patch.object(sandbox, "paths_of", return_value=Paths()),
    patch.object(config, "from_kubeconfig"),
    patch.object(client, "KubeClient", Kube),
    patch.object(demo_cluster, "DemoCluster", Cluster),
):
    sys.exit(run(["demo", *sys.argv[4:]]))
