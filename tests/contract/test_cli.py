"""What every command of `kfleet` keeps, whoever wrote it: walked over the whole tree, so that a new one is held to it.

Data on stdout and nothing else there; an error is one line and its code; help fits and explains every option. Each rule
is shown to find a command that breaks it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
import typer.main
import yaml
from support import cli_tree
from support.canned_api import CannedApi, canned_api, kubeconfig_of
from support.cli_tree import Leaf, problems_of_error, problems_of_help, run
from support.warm_cli import WarmCli

from controlplane.cli import main
from controlplane.cli.lazy import Lazy, lazy_group

ALL = list(cli_tree.commands())
LEAVES = cli_tree.leaves()
ASKING = [leaf for leaf in LEAVES if leaf.asks_kubernetes]
KFLEET = Path(sys.executable).parent / "kfleet"
FORBIDDEN = {
    "kind": "Status",
    "reason": "Forbidden",
    "message": 'kafkaclusters.kfleet.dev is forbidden: User "mallory" cannot list resource "kafkaclusters" in API '
    'group "kfleet.dev" in the namespace "kafka"',
}


def name_of(leaf: Leaf) -> str:
    return " ".join(leaf.words) or "kfleet"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig of a server whose port nobody listens on, nor can while it is taken here."""
    path = tmp_path_factory.mktemp("closed") / "kubeconfig.yaml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        path.write_text(yaml.safe_dump(kubeconfig_of(f"https://127.0.0.1:{taken.getsockname()[1]}")))
        yield path


@pytest.fixture(scope="module")
def empty_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedApi]:
    """An API server that knows none of kfleet's kinds."""
    with canned_api(tmp_path_factory.mktemp("api"), {}) as api:
        yield api


def test_the_walk_reaches_the_tree() -> None:
    assert cli_tree.unloadable() == []
    found = {name_of(leaf) for leaf in LEAVES}
    assert {"status", "cluster health", "cluster get", "sandbox up", "version", "completion"} <= found
    assert len(ASKING) >= 7


@pytest.mark.parametrize("leaf", ALL, ids=name_of)
def test_help(leaf: Leaf) -> None:
    done = run([*leaf.words, "--help"])
    if leaf.passes_on:
        pytest.skip("--help is the other program's")
    assert problems_of_help(leaf, done) == []


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if not leaf.passes_on], ids=name_of)
def test_a_wrong_option_is_a_usage_error(leaf: Leaf) -> None:
    done = run([*leaf.words, *leaf.arguments(), "--no-such-option"])
    assert problems_of_error(done, 2, "--no-such-option") == []


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.arguments() and not leaf.passes_on], ids=name_of)
def test_a_missing_argument_is_a_usage_error(leaf: Leaf) -> None:
    assert problems_of_error(run(leaf.words), 2, "Missing") == []


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_an_unreadable_kubeconfig(leaf: Leaf, tmp_path: Path) -> None:
    bad = tmp_path / "kubeconfig.yaml"
    for text, says in (
        ("{", "is not YAML"),
        ("", "is empty"),
        ("just words", "is not a kubeconfig"),
        ("contexts: 3\ncurrent-context: x", "contexts is not a list"),
        (yaml.safe_dump(kubeconfig_of("https://x") | {"current-context": "gone"}), "no entry 'gone' in contexts"),
    ):
        bad.write_text(text)
        done = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(bad)])
        assert problems_of_error(done, 1, str(bad), says) == [], text
    missing = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(tmp_path / "gone.yaml")])
    assert problems_of_error(missing, 1, "gone.yaml", "No such file") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["rebalance", "plan", "--goal", "balance", "--brokers", "{}", "--assignment", "{}"],
        ["placement", "simulate", "--tenants", "1", "--brokers", "{}"],
        ["placement", "simulate", "--tenants", "1", "--brokers", "9", "--from", "{}"],
    ],
    ids=["rebalance", "brokers", "history"],
)
@pytest.mark.parametrize(
    "content", [b"{", b"[[]]", b"null", b"\xff\xfe\xff", b"[" * 100_000], ids=lambda one: one[:4].hex()
)
def test_a_file_that_is_wrong_is_no_wrong_usage(arguments: list[str], content: bytes, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    assert problems_of_error(run([str(bad) if word == "{}" else word for word in arguments]), 1, str(bad)) == []


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_no_such_context(leaf: Leaf, closed: Path) -> None:
    done = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(closed), "--context", "mars"])
    assert problems_of_error(done, 1, "'mars'", "known: here") == []


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_an_api_server_that_is_down(leaf: Leaf, closed: Path) -> None:
    """Also commands that ask before they change something: there is nothing yet to ask about."""
    done = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(closed)])
    assert problems_of_error(done, 1, "API server https://127.0.0.1", "Connection refused") == []


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_forbidden(leaf: Leaf, empty_api: CannedApi) -> None:
    empty_api.refuse = (403, FORBIDDEN)
    done = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(empty_api.kubeconfig)])
    assert problems_of_error(done, 4, 'User "mallory" cannot list resource "kafkaclusters"') == []


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_credentials_that_are_not_accepted(leaf: Leaf, empty_api: CannedApi) -> None:
    empty_api.refuse = (401, {"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized"})
    done = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(empty_api.kubeconfig)])
    assert problems_of_error(done, 4, "does not accept the kubeconfig's credentials") == []


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_an_api_server_without_kfleet(leaf: Leaf, empty_api: CannedApi) -> None:
    empty_api.refuse = None
    done = run([*leaf.words, *leaf.arguments(), "--kubeconfig", str(empty_api.kubeconfig)])
    assert problems_of_error(done, 1, "kfleet is not installed at http://127.0.0.1") == []


@contextmanager
def waiting(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Kubeconfig of an API server that never answers; the function returns when somebody has asked it."""
    path = tmp_path / "kubeconfig.yaml"
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as connections:
        silent.settimeout(60)
        path.write_text(yaml.safe_dump(kubeconfig_of(f"http://127.0.0.1:{silent.getsockname()[1]}")))

        def asked() -> None:
            connection = connections.enter_context(silent.accept()[0])
            connection.settimeout(60)
            assert connection.recv(1)

        yield path, asked


@pytest.mark.parametrize("leaf", ASKING, ids=name_of)
def test_ctrl_c_while_the_api_server_does_not_answer(leaf: Leaf, warm: WarmCli, tmp_path: Path) -> None:
    """As a process that gets the signal while it waits for an answer that never comes."""
    with waiting(tmp_path) as (kubeconfig, asked):
        pid = warm.start([*leaf.words, *leaf.arguments(), "--kubeconfig", str(kubeconfig)])
        asked()
        os.kill(pid, signal.SIGINT)
        assert warm.ended() == cli_tree.Run(130, "", "kfleet: interrupted\n")


def test_ctrl_c_of_the_program_as_it_is_installed(tmp_path: Path) -> None:
    with waiting(tmp_path) as (kubeconfig, asked):
        process = subprocess.Popen(
            [KFLEET, "status", "--kubeconfig", str(kubeconfig)],
            env={key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        asked()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "kfleet: interrupted\n")


def typed_in(text: str) -> list[list[str]]:
    """The words of every `kfleet ...` line of a page, in code blocks and between backticks."""
    found = re.findall(r"`(kfleet [^`\n]+)`", text)
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        found += re.findall(r"(?:^|[(\s])(kfleet [^|)#\n]+)", block)
    return [shlex.split(line)[1:] for line in found if "..." not in line]


def unknown(words: list[str]) -> list[str]:
    """What of a command line the tree does not know: its command, or an option of it."""
    by_words = {leaf.words: leaf for leaf in ALL}
    given = next((tuple(words[:count]) for count in (2, 1) if tuple(words[:count]) in by_words), None)
    if given is None:
        return words[:1]
    leaf = by_words[given]
    if leaf.passes_on:
        return []
    return [word for word in words if word.startswith("-") and word not in leaf.options | {"-h", "--help"}]


def test_the_page_shows_commands_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    lines = [line for line in typed_in(page) if line[0] != "COMMAND"]
    assert len(lines) > 15
    assert [(line, wrong) for line in lines if (wrong := unknown(line))] == []
    shown = {line[0] for line in lines}
    assert set(main.COMMANDS) - shown - {"deny", "demo", "approve"} == set(), "a noun that the page does not mention"
    planted = "`kfleet clustr get` `kfleet cluster get --nope`"
    assert [unknown(line) for line in typed_in(planted)] == [["clustr"], ["--nope"]]


def planted(function: Any, *words: str) -> tuple[Leaf, Any]:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(function)
    command = typer.main.get_command(app)
    return Leaf(words or ("planted",), command), command


def test_a_bad_help_is_found() -> None:
    def undocumented(name: str, very_long_option_name: Annotated[str, typer.Option()] = "x" * 120) -> None:
        pass

    leaf, command = planted(undocumented)
    shown = command.get_help(command.make_context("planted", ["y"]))
    found = problems_of_help(leaf, cli_tree.Run(0, f"{shown}\n{'w' * 101}\n  cut...\n\x1b[1m", ""))
    for expected in ("it does not say", "--very-long-option-name has no help", "wider than", "cut:", "colour"):
        assert any(expected in problem for problem in found), (expected, found)
    assert problems_of_help(leaf, cli_tree.Run(1, "", "oops"))


@pytest.mark.parametrize(
    ("done", "finds"),
    [
        (cli_tree.Run(0, "", "kfleet: x\n"), "code 0"),
        (cli_tree.Run(1, "noise\n", "kfleet: x\n"), "stdout is not empty"),
        (cli_tree.Run(1, "", "kfleet: x\nand more\n"), "not one line"),
        (cli_tree.Run(1, "", "error: x\n"), "not one line"),
        (cli_tree.Run(1, "", ""), "not one line"),
        (cli_tree.Run(1, "", "Traceback (most recent call last):\n"), "Traceback"),
        (cli_tree.Run(1, "", "kfleet: internal error: KeyError\n"), "internal error"),
        (cli_tree.Run(1, "", "kfleet: else\n"), "'x' is not said"),
    ],
)
def test_a_bad_error_is_found(done: cli_tree.Run, finds: str) -> None:
    assert any(finds in problem for problem in problems_of_error(done, 1, "x"))


def test_a_planted_command_that_breaks_the_rules_is_found(monkeypatch: pytest.MonkeyPatch, closed: Path) -> None:
    """The walk reaches a noun that was added, and its rules find what is wrong with it."""
    monkeypatch.setitem(main.COMMANDS, "bad", Lazy("support.bad_command:app", "A bad one."))
    monkeypatch.setitem(main.COMMANDS, "gone", Lazy("support.no_such_module:app", "Not there."))
    monkeypatch.setattr(main, "app", _app_with(main.COMMANDS))
    leaf = next(leaf for leaf in cli_tree.leaves() if leaf.words == ("bad",))
    assert problems_of_help(leaf, run(["bad", "--help"]))
    found = problems_of_error(run(["bad", "--kubeconfig", str(closed)]), 1, "API server")
    assert any("stdout" in problem for problem in found)
    assert any("internal error" in problem for problem in found)
    assert cli_tree.unloadable() == ["gone: No module named 'support.no_such_module'"]


def _app_with(nouns: dict[str, Lazy]) -> typer.Typer:
    app = typer.Typer(
        cls=lazy_group(nouns), add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.callback()(main.kfleet)
    return app
