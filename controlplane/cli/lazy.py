"""Command groups that are imported when they are used, so that `kfleet --help` answers at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main


@dataclass(frozen=True)
class Lazy:
    """`target` is `package.module:attribute` of a typer.Typer; `help` is its line in the list of commands."""

    target: str
    help: str

    def load(self) -> Any:
        module, _, attribute = self.target.partition(":")
        app: typer.Typer = getattr(importlib.import_module(module), attribute)
        app._add_completion = False  # noqa: SLF001 - `kfleet completion` is there once, not as an option of every noun
        return typer.main.get_command(app)


def lazy_group(commands: Mapping[str, Lazy]) -> type[typer.core.TyperGroup]:
    """A group class for typer.Typer(cls=...) that knows `commands` besides its own."""

    class LazyGroup(typer.core.TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, lazy in commands.items():
                self.add_command(typer.core.TyperGroup(name=name, help=lazy.help, rich_markup_mode=None))

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
            name, command, rest = super().resolve_command(ctx, args)
            if name is not None and name in commands:
                command = commands[name].load()
            return name, command, rest

    return LazyGroup
