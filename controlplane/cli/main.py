"""`kfleet`: the command line of the fleet. Data goes to stdout, everything else to stderr.

This module imports typer and nothing heavier: each noun's commands live in a file of their own, loaded when used.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import typer
import typer.main

from controlplane.cli.errors import ExitCode, report
from controlplane.cli.lazy import Lazy, lazy_group

COMMANDS = {
    "status": Lazy("controlplane.cli.status:app", "The fleet on one screen, worst first."),
    "cluster": Lazy("controlplane.cli.cluster:app", "Clusters: what they are, how they are, what comes next."),
    "tenant": Lazy("controlplane.cli.tenant:app", "Tenants: list, describe, repack."),
    "user": Lazy("controlplane.cli.user:app", "Users: describe, rotate, revoke, test."),
    "upgrade": Lazy("controlplane.cli.upgrade:app", "Upgrades: the way, the hazards, the point of no return."),
    "rebalance": Lazy("controlplane.cli.rebalance:app", "Rebalances: the fewest moves to a goal, for any cluster."),
    "op": Lazy("controlplane.cli.op:app", "Operations: list, show, watch, cancel, resume."),
    "pending": Lazy("controlplane.cli.pending:app", "Plans that wait for somebody's approval."),
    "approve": Lazy("controlplane.cli.approve:app", "Approve the plan of an operation."),
    "deny": Lazy("controlplane.cli.deny:app", "Deny the plan of an operation."),
    "audit": Lazy("controlplane.cli.audit:app", "Who did what: list, show, export."),
    "explain": Lazy("controlplane.cli.explain:app", "What a condition or a check means and what to do."),
    "placement": Lazy("controlplane.cli.placement:app", "Shuffle shards on paper: who gets which brokers."),
    "sandbox": Lazy("controlplane.cli.sandbox:app", "Kubernetes and three nodes on this machine."),
    "demo": Lazy("controlplane.cli.demo:app", "A cluster, traffic, a live upgrade, the account."),
    "completion": Lazy("controlplane.cli.completion:app", "Completion for bash, zsh or fish."),
}
PROGRAM = "kfleet"
COMPLETE_VARIABLE = "_KFLEET_COMPLETE"
"""Set by the shell's completion function: print what could come next instead of running anything."""

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    name=PROGRAM,
    help="One control plane for a fleet of Apache Kafka clusters.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def kfleet() -> None:
    pass


@app.command()
def version() -> None:
    """Print kfleet's version."""
    from importlib import metadata  # noqa: PLC0415 - 80 ms that --help does without

    print(metadata.version("kfleet"))


def run(arguments: Sequence[str], program: str = PROGRAM) -> int:
    """Run one command line; the exit code, never an exception. `program` is what usage lines call it."""
    if COMPLETE_VARIABLE in os.environ:
        return _complete()
    try:
        result = typer.main.get_command(app).main(list(arguments), prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # typer has met it first
            return _unread()
        return leaving.code if isinstance(leaving.code, int) else ExitCode.FAILED
    except BrokenPipeError:
        return _unread()
    except BaseException as error:  # noqa: BLE001 - nothing may end in a traceback
        code = report(error)
        return _unread(code) if isinstance(error, OSError) and error.errno == errno.ENOSPC else code
    if result == ExitCode.INTERRUPTED:  # typer has turned Ctrl-C into this code
        return report(KeyboardInterrupt())
    return result if isinstance(result, int) else ExitCode.OK


def _unread(code: int = ExitCode.OK) -> int:
    """Whoever read our output has had enough (`| head`), or it has no room: Python would try once more at exit, and
    complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _complete() -> int:
    """Candidates on stdout; whatever goes wrong is silence: it would land in the line that somebody is typing."""
    from typer.completion import completion_init  # type: ignore[attr-defined]  # noqa: PLC0415 - only the Tab key's

    completion_init()
    try:
        typer.main.get_command(app).main([], prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, standalone_mode=False)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else ExitCode.OK
    except Exception as error:  # noqa: BLE001 - KFLEET_DEBUG=1 shows it
        return report(error) if os.environ.get("KFLEET_DEBUG") else ExitCode.FAILED
    return ExitCode.OK


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def kubectl_main() -> None:
    """`kubectl kfleet`: kubectl runs the program named kubectl-kfleet with the rest of its line."""
    sys.exit(run(sys.argv[1:], "kubectl kfleet"))


if __name__ == "__main__":
    main()
