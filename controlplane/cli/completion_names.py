"""Names that exist, for the Tab key. A lookup that takes longer than a second ends without an answer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

LOOKUP_SECONDS = 1.0


def cluster_names(context: typer.Context, incomplete: str) -> list[str]:
    """Clusters in the namespace that the command line names so far."""
    from controlplane.cli.completion_lookup import clusters  # noqa: PLC0415 - HTTP: --help does without

    with at_most(LOOKUP_SECONDS):
        return [name for name in clusters(context.params) if name.startswith(incomplete)]


def operation_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Operations of the clusters in the namespace that the command line names so far."""
    from controlplane.cli.completion_lookup import operations  # noqa: PLC0415 - as above

    with at_most(LOOKUP_SECONDS):
        return [name for name in operations(context.params) if name.startswith(incomplete)]


def user_names(context: typer.Context, incomplete: str) -> list[str]:
    """Users in the namespace that the command line names so far."""
    from controlplane.cli.completion_lookup import users  # noqa: PLC0415 - as above

    with at_most(LOOKUP_SECONDS):
        return [name for name in users(context.params) if name.startswith(incomplete)]


def tenant_names(context: typer.Context, incomplete: str) -> list[str]:
    """Tenants of the Kubernetes that the command line names so far."""
    from controlplane.cli.completion_lookup import tenants  # noqa: PLC0415 - as above

    with at_most(LOOKUP_SECONDS):
        return [name for name in tenants(context.params) if name.startswith(incomplete)]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends this process without a word when the body takes longer, whatever it is stuck in (DNS, a dead network)."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.stdout.flush()
        os._exit(0)

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
