"""Every command of the CLI's tree, what each needs to be called, and what may be wrong with an answer.

The `problems_*` functions judge one run; a test runs them over the whole tree, and over planted bad commands to show
that they find something.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer.main

from controlplane.cli import main

HELP_COLUMNS = 100


@dataclass(frozen=True)
class Run:
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Leaf:
    """One command: the words to type and typer's command behind them."""

    words: tuple[str, ...]
    command: Any

    @property
    def options(self) -> frozenset[str]:
        return frozenset(word for parameter in self.command.params for word in parameter.opts if word.startswith("-"))

    @property
    def asks_kubernetes(self) -> bool:
        return "--kubeconfig" in self.options

    @property
    def passes_on(self) -> bool:
        """Its arguments are another program's."""
        return bool(self.command.context_settings.get("ignore_unknown_options"))

    @property
    def offers_json(self) -> bool:
        """By an option whose values are an enum with json among them."""
        return any("json" in getattr(type(parameter.default), "__members__", ()) for parameter in self.command.params)

    def arguments(self, values: Mapping[str, str] | None = None) -> list[str]:
        """A value for everything that is required."""
        given = {"name": "orders", "operation": "roll-2-abc", "target": "orders", "shell": "bash", "node": "1"}
        given |= dict(values or {})
        found: list[str] = []
        for parameter in self.command.params:
            if not parameter.required:
                continue
            value = given.get(parameter.name, "x")
            found += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
        return found


def root() -> Any:
    return typer.main.get_command(main.app)


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Groups and leaves alike, lazily loaded ones included, as a user reaches them."""
    command = root() if command is None else command
    if lazy := main.COMMANDS.get(words[0]) if len(words) == 1 else None:
        try:
            command = lazy.load()
        except ImportError:  # `unloadable` says so, in one test instead of in none
            return
    yield Leaf(words, command)
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from commands(child, (*words, name))


def unloadable() -> list[str]:
    """Nouns whose module cannot be imported."""
    found = []
    for name, lazy in main.COMMANDS.items():
        try:
            lazy.load()
        except ImportError as error:
            found.append(f"{name}: {error}")
    return found


def leaves() -> list[Leaf]:
    return [leaf for leaf in commands() if not hasattr(leaf.command, "commands")]


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """One command line in this process: what a user of the CLI would see and get."""
    out, err = io.StringIO(), io.StringIO()
    with _environment(environment or {}), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run(arguments)
    return Run(int(code), out.getvalue(), err.getvalue())


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("KFLEET_", "_KFLEET"))]:
        del os.environ[name]
    os.environ.pop("KUBECONFIG", None)
    os.environ.update({"NO_COLOR": "1", "COLUMNS": str(HELP_COLUMNS), **changes})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def problems_of_error(done: Run, code: int | Sequence[int], *says: str) -> list[str]:
    """An error is a code, one line on stderr and nothing on stdout."""
    codes = [code] if isinstance(code, int) else list(code)
    found = []
    if done.code not in codes:
        found.append(f"code {done.code}, not {codes}")
    if done.stdout:
        found.append(f"stdout is not empty: {done.stdout[:200]!r}")
    if done.stderr.count("\n") != 1 or not done.stderr.startswith("kfleet: "):
        found.append(f"stderr is not one line of kfleet's: {done.stderr[:300]!r}")
    found += [f"a {word} reached the user: {done.stderr[:300]!r}" for word in _FORBIDDEN if word in done.stderr]
    found += [f"{text!r} is not said: {done.stderr[:300]!r}" for text in says if text not in done.stderr]
    return found


_FORBIDDEN = ("Traceback", "internal error", "\x1b")


def problems_of_help(leaf: Leaf, done: Run) -> list[str]:
    """Help says what the command and each option do, on stdout, within the columns, without being cut."""
    found = []
    if done.code or done.stderr:
        found.append(f"code {done.code}, stderr {done.stderr[:200]!r}")
    if not (leaf.command.help or "").strip():
        found.append("it does not say what it does")
    if "\x1b" in done.stdout:
        found.append("colour in spite of NO_COLOR")
    found += [f"wider than {HELP_COLUMNS}: {line!r}" for line in done.stdout.splitlines() if len(line) > HELP_COLUMNS]
    found += [f"cut: {line!r}" for line in done.stdout.splitlines() if line.startswith("  ") and line.endswith("...")]
    found += [
        f"{parameter.opts[0]} has no help"
        for parameter in leaf.command.params
        if not (getattr(parameter, "help", None) or "").strip()
    ]
    if "--install-completion" in done.stdout:
        found.append("completion is a command, not an option")
    return found
