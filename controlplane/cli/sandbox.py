"""`kfleet sandbox`: a Kubernetes API and process nodes on this machine, for development, demos, tests and drills."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.render import document, table
from controlplane.sandbox import claims
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.progress import Progress

app = typer.Typer(
    name="sandbox",
    help="Kubernetes and three nodes on this machine. Not for production.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
TAIL_LINES = 10
FOLLOW_SECONDS = 0.2


class Output(StrEnum):
    table = "table"
    json = "json"


def paths_of(name: str) -> SandboxPaths:
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is not a name: lower-case letters, digits and dashes, at most 40")
    return SandboxPaths.named(name)


Name = Annotated[str, typer.Option("--name", help="Which sandbox.")]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="Format on stdout.")]


@app.command()
def up(name: Name = "default") -> None:
    """Start it, or bring it back after a crash.

    The very first time builds Kubernetes from source, which takes 5 to 9 minutes on 2 cores; later about 5 seconds.
    """
    from controlplane.sandbox import lifecycle  # noqa: PLC0415 - HTTP and cryptography: `env` and --help do without

    paths = paths_of(name)
    lifecycle.up(paths, Progress())
    option = "" if name == "default" else f" --name {name}"
    print(f'use it with: eval "$(kfleet sandbox env{option})"', file=sys.stderr)


@app.command()
def down(
    name: Name = "default",
    purge: Annotated[bool, typer.Option("--purge", help="Remove its files too: volumes, objects, logs.")] = False,
) -> None:
    """Stop every process of it; --purge removes its data."""
    from controlplane.sandbox import lifecycle  # noqa: PLC0415

    paths = paths_of(name)
    if not paths.root.exists():
        print(f"kfleet: no sandbox {name}; nothing to do", file=sys.stderr)
    lifecycle.down(paths, Progress(), purge=purge)


@app.command()
def status(name: Name = "default", output: OutputOption = Output.table) -> None:
    """Show its processes.

    Exit code 0: all run; 3: some do not; 1: there is no such sandbox.
    """
    from controlplane.sandbox import status as state  # noqa: PLC0415

    found = state.status(paths_of(name))
    if output is Output.json:
        print(document("SandboxStatus", state.to_json(found)))
    else:
        rows = [(part.name, part.state, part.pid or "-", part.note) for part in found.parts]
        print(table(("part", "state", "pid", "note"), rows))
        if found.faults:
            print()
            faults = [(fault.kind, fault.target, f"{time.time() - fault.since:.0f} s ago") for fault in found.faults]
            print(table(("fault", "target", "since"), faults))
        print(f"sandbox {name}: {found.state}, {found.server}, files in {found.root}", file=sys.stderr)
    if found.state != "Running":
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def env(name: Name = "default") -> None:
    """Print what a shell needs: eval "$(kfleet sandbox env)"."""
    paths = paths_of(name)
    claims.require(paths)
    print(f"export KUBECONFIG={shlex.quote(str(paths.kubeconfig()))}")
    print(f"export KFLEET_LEDGER_URL={shlex.quote(paths.ledger_url)}")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
def kubectl(context: typer.Context, name: Name = "default") -> None:
    """Run the sandbox's own kubectl.

    Every argument is kubectl's, except --name NAME in front of them.
    """
    paths = paths_of(name)
    claims.require(paths)
    program = ensure_control_plane(Progress()) / "kubectl"
    os.environ["KUBECONFIG"] = str(paths.kubeconfig())
    os.execv(program, ["kubectl", *context.args])  # noqa: S606 - it takes over our terminal, signals and exit code


@app.command()
def build() -> None:
    """Build Kubernetes ahead of `up`: 5 to 9 minutes, once."""
    ensure_control_plane(Progress())


@app.command()
def pull(images: Annotated[list[str], typer.Argument(help="Such as kfleet/kafka:4.3.1.")]) -> None:
    """Download images before they are needed, and make them start faster."""
    from controlplane.sandbox.images import prepare  # noqa: PLC0415

    for image in images:
        prepare(image, Progress())


@app.command()
def logs(
    component: Annotated[str, typer.Argument(help="A part as `status` names it; none: the end of every log.")] = "",
    name: Name = "default",
    tail: Annotated[int, typer.Option("--tail", min=1, help="How many lines from the end.")] = 200,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
) -> None:
    """Show a component's log (pods have theirs in `kubectl logs`)."""
    paths = paths_of(name)
    claims.require(paths)
    files = {file.stem: file for file in sorted(paths.logs.glob("*.log"))}
    if not component:
        if follow:
            raise typer.BadParameter(f"--follow needs a component: {', '.join(files)}")
        for part, file in files.items():
            for line in _last(file, TAIL_LINES):
                print(f"{part}: {line}")
        return
    if component not in files:
        raise CliError(f"no log of {component!r}; there are {', '.join(files) or 'none'}", ExitCode.USAGE)
    for line in _last(files[component], tail):
        print(line)
    if follow:
        _follow(files[component])


@app.command()
def fail(
    kind: Annotated[str, typer.Argument(help="What to break; `kfleet sandbox fail list` shows the kinds.")],
    target: Annotated[str, typer.Argument(help="What it happens to, e.g. node-a, a zone, or namespace/pod.")] = "",
    name: Name = "default",
) -> None:
    """Break something on purpose. `heal` undoes it."""
    from controlplane.sandbox import faults  # noqa: PLC0415 - only these two commands need it

    if kind == "list":
        print(table(("kind", "what it does"), faults.KINDS.items()))
        return
    paths = paths_of(name)
    claims.require(paths)
    try:
        print(faults.fail(paths, kind, target), file=sys.stderr)
    except faults.FaultError as error:
        raise CliError(str(error)) from error


@app.command()
def heal(
    kind: Annotated[str, typer.Argument(help="What to undo.")],
    target: Annotated[str, typer.Argument(help="The target it was done to.")] = "",
    name: Name = "default",
) -> None:
    """Undo what `fail` did."""
    from controlplane.sandbox import faults  # noqa: PLC0415 - only these two commands need it

    paths = paths_of(name)
    claims.require(paths)
    try:
        print(faults.heal(paths, kind, target), file=sys.stderr)
    except faults.FaultError as error:
        raise CliError(str(error)) from error


def _last(file: Path, lines: int) -> list[str]:
    return file.read_text(errors="replace").splitlines()[-lines:]


def _follow(file: Path) -> None:
    with file.open(errors="replace") as handle:
        handle.seek(0, os.SEEK_END)
        while True:
            text = handle.read()
            if text:
                print(text, end="", flush=True)
            else:
                time.sleep(FOLLOW_SECONDS)
