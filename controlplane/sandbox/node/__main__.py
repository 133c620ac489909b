"""`python -m controlplane.sandbox.node --root ROOT --name node-a`: one process node in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from controlplane.adapters.kubernetes.config import KubeConfigError
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.images import resolve
from controlplane.sandbox.node.node import Node


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="controlplane.sandbox.node", description="A small kubelet for local processes."
    )
    parser.add_argument("--root", type=Path, required=True, help="the sandbox's directory")
    parser.add_argument("--name", required=True, help="the node's name, e.g. node-a")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(Node(SandboxPaths(options.root), options.name, resolve).run())
    except (SandboxError, KubeConfigError, OSError) as error:
        print(f"kfleet: node {options.name}: {error}", file=sys.stderr)  # noqa: T201 - for whoever started it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
