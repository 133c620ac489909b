"""A command that breaks what the contract asks of every command: the negative control of the walk."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def bad(kubeconfig: str = "") -> None:
    print("noise on stdout")
    raise KeyError(kubeconfig)
