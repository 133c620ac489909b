"""Questions before something is changed. They go to stderr: stdout is for data."""

from __future__ import annotations

import sys

from controlplane.cli.errors import CliError, ExitCode


def confirm(what: str, yes: bool) -> None:  # noqa: FBT001 - confirm("cancel roll-3-ab", yes) reads as it does
    """Go on only if a person says y. Raises CliError: FAILED when they do not, USAGE when there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("this asks before it changes anything: use a terminal, or say --yes", ExitCode.USAGE)
    sys.stderr.write(f"{what}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CliError("nothing was done")


def confirm_by_name(what: str, name: str, typed: str | None) -> None:
    """Go on only if `name` was typed, as an option or now. Raises CliError as `confirm` does."""
    if typed is None:
        if not sys.stdin.isatty():
            raise CliError(f"this gives data up: use a terminal, or say --confirm {name}", ExitCode.USAGE)
        sys.stderr.write(f"{what}? Type {name} to go on: ")
        sys.stderr.flush()
        typed = sys.stdin.readline().strip()
    if typed != name:
        raise CliError("nothing was done")
