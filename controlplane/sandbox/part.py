"""What the long-running parts of a sandbox have in common: arguments, logging, stopping on a signal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from controlplane.adapters.kubernetes.config import KubeConfigError


def main(part: str, serve: Callable[[Path], Awaitable[None]]) -> int:
    """Run `serve(root)` until SIGTERM or SIGINT; 0 when asked to stop, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog=f"python -m controlplane.sandbox.{part}")
    parser.add_argument("--root", type=Path, required=True, help="directory of the sandbox")
    root: Path = parser.parse_args().root
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(_until_signal(serve, root))
    except KubeConfigError as error:
        print(f"kfleet sandbox {part}: {error}", file=sys.stderr)  # noqa: T201 - read by whoever started us
        return 1
    return 0


async def _until_signal(serve: Callable[[Path], Awaitable[None]], root: Path) -> None:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(serve(root))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped by a signal")
