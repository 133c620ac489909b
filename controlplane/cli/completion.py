"""`kfleet completion`: the script that makes the Tab key know kfleet's commands and the names of clusters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(name="completion", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="Which shell.")]) -> None:
    """Print completion for a shell.

    bash: source <(kfleet completion bash). zsh: the same, after compinit. fish: kfleet completion fish | source.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415 - only here

    from controlplane.cli.main import COMPLETE_VARIABLE, PROGRAM  # noqa: PLC0415 - it imports the commands by name

    print(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell.value))
