"""What a command may end with, and how every failure becomes one clear line on stderr.

No traceback reaches a user: with KFLEET_DEBUG=1 set it is shown after the line, for whoever reports the bug.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum

import typer

UNAUTHORIZED = 401
NOT_LOGGED_IN = "the API server does not accept the kubeconfig's credentials: log in again, or choose another --context"


class ExitCode(IntEnum):
    """Exit codes of every command, for scripts (documented in docs/cli.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNHEALTHY = 3
    DENIED = 4
    WAITING = 5
    INTERRUPTED = 130


class CliError(Exception):
    """A failure that says what is wrong and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def report(error: BaseException) -> ExitCode:
    """Print one line for `error` on stderr and say with which code to leave."""
    code, message = explain(error)
    if isinstance(error, typer.TyperException) and message.startswith("Usage:"):
        print(message, file=sys.stderr)  # a group called without a command shows its help
    else:
        print(f"kfleet: {' '.join(message.split())}", file=sys.stderr)
    if os.environ.get("KFLEET_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[ExitCode, str]:
    """Which code and which words stand for an exception. Libraries are imported only when they have raised."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return ExitCode.INTERRUPTED, "interrupted"
    if isinstance(error, CliError):
        return error.code, str(error)
    if isinstance(error, typer.TyperException):
        return ExitCode(error.exit_code), _usage(error)
    from controlplane.adapters.kubernetes.config import KubeConfigError  # noqa: PLC0415 - 200 ms: only to explain
    from controlplane.ports import ForbiddenError, KafkaError, KubeError, LedgerError  # noqa: PLC0415
    from controlplane.sandbox.errors import SandboxError  # noqa: PLC0415

    if isinstance(error, ForbiddenError):
        return ExitCode.DENIED, NOT_LOGGED_IN if error.status == UNAUTHORIZED else error.message
    if isinstance(error, KubeError | KafkaError | LedgerError):
        return ExitCode.FAILED, error.message
    if isinstance(error, SandboxError | KubeConfigError):
        return ExitCode.FAILED, str(error)
    if isinstance(error, OSError) and error.strerror:
        return ExitCode.FAILED, f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return ExitCode.FAILED, f"internal error: {type(error).__name__}: {error} (KFLEET_DEBUG=1 shows where)"


def _usage(error: typer.TyperException) -> str:
    """Typer's words, without pydantic's prefix; of a name that resembles none, with where those that exist are."""
    said = error.format_message().replace(": Value error, ", ": ")
    context = getattr(error, "ctx", None)
    if context is not None and said.startswith("No such ") and "Did you mean" not in said:
        return f"{said.rstrip('.')}; see: {context.command_path} --help"
    return said
