"""The manners of `kfleet`, as a process: exit codes, one line an error, nothing of it on stdout."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.warm_cli import WarmCli

from controlplane.cli import errors
from controlplane.cli.errors import CliError, ExitCode
from controlplane.ports import ForbiddenError, UnreachableError

HEAVY = {"kopf", "aiohttp", "cryptography", "kafka", "confluent_kafka", "rich", "yaml"}
KFLEET = Path(sys.executable).parent / "kfleet"


def environment(state: Path) -> dict[str, str]:
    found = os.environ | {"KFLEET_STATE": str(state), "KFLEET_RUNTIME": str(state / "runtime"), "NO_COLOR": "1"}
    found.pop("KFLEET_DEBUG", None)
    return found


def kfleet(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KFLEET, *arguments],
        env=environment(state),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["sandbx"], 2, "No such command 'sandbx'. Did you mean 'sandbox'?"),
        (["sandbox", "statu"], 2, "No such command 'statu'. Did you mean 'status'?"),
        (["sandbox", "status", "--nam", "x"], 2, "No such option: --nam"),
        (["sandbox", "status", "-o", "xml"], 2, "'-o' / '--output': 'xml' is not one of"),
        (["completion", "nush"], 2, "'SHELL': 'nush' is not one of"),
        (["user", "list"], 2, "No such command 'list'; see: kfleet user --help"),
        (["--version"], 2, "No such option: --version; see: kfleet --help"),
        (["sandbox", "up", "--name", "A b"], 2, "'A b' is not a name"),
        (["sandbox", "up", "--name", "../x"], 2, "'../x' is not a name"),
        (["sandbox", "status"], 1, "no sandbox default; start it with: kfleet sandbox up"),
        (["sandbox", "env", "--name", "x"], 1, "no sandbox x; start it with: kfleet sandbox up --name x"),
        (["sandbox", "kubectl", "get", "pods"], 1, "no sandbox default"),
        (["sandbox", "logs", "etcd"], 1, "no sandbox default"),
        (["sandbox", "fail", "node", "node-a"], 1, "no sandbox default"),
        (["sandbox", "heal", "node", "node-a"], 1, "no sandbox default"),
        (["sandbox", "pull", "kfleet/kafka:9.9.9"], 1, "Kafka 9.9.9 is not one the sandbox can run; it knows 3.9.2"),
        (["sandbox", "pull", "nginx"], 1, "nginx: the sandbox has no such image"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    warm: WarmCli, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done = warm.run(arguments, environment(tmp_path))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("kfleet: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_down_of_nothing_is_no_error_and_leaves_no_file(warm: WarmCli, tmp_path: Path) -> None:
    done = warm.run(["sandbox", "down", "--purge"], environment(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "no sandbox default" in done.stderr
    assert not (tmp_path / "state" / "sandboxes").exists()


def test_help_and_version_go_to_stdout_and_an_error_to_stderr(tmp_path: Path) -> None:
    shown = kfleet(tmp_path, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "sandbox" in shown.stdout
    assert kfleet(tmp_path, "version").stdout == "0.1.0\n"
    wrong = kfleet(tmp_path, "sandbx")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "kfleet: No such command 'sandbx'. Did you mean 'sandbox'?\n"
    alone = kfleet(tmp_path)
    assert (alone.returncode, alone.stdout) == (2, "")
    assert alone.stderr.startswith("Usage: kfleet")


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers within 300 ms: what would cost more than that is not imported for it."""
    program = (
        "import sys; from controlplane.cli.main import run; run(['--help']); run(['sandbx']); "
        f"print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""


def test_a_reader_that_has_had_enough_hears_no_complaint() -> None:
    piped = subprocess.run(
        ["bash", "-c", f"{KFLEET} sandbox --help | true"], capture_output=True, text=True, check=True
    )
    assert piped.stderr == ""


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    """While it waits for the lock that another command holds."""
    from controlplane.sandbox.once import locked

    with locked(tmp_path / "sandboxes" / ".x.lock"):
        (tmp_path / "sandboxes" / "x").mkdir()
        process = subprocess.Popen(
            [KFLEET, "sandbox", "down", "--name", "x"],
            env=os.environ | {"KFLEET_STATE": str(tmp_path), "KFLEET_RUNTIME": str(tmp_path / "runtime")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lock = tmp_path / "sandboxes" / ".x.lock"
        deadline = time.monotonic() + 60
        while not _has_open(process.pid, lock):
            assert time.monotonic() < deadline, "it never came to the lock"
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "kfleet: interrupted\n")


def _has_open(pid: int, file: Path) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if descriptor.readlink() == file:
                return True
    return False


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (CliError("a\nb", ExitCode.WAITING), 5, "kfleet: a b"),
        (ForbiddenError(403, "Forbidden", "not you"), 4, "kfleet: not you"),
        (UnreachableError(0, "Unreachable", "no answer"), 1, "kfleet: no answer"),
        (PermissionError(13, "Permission denied", "/x"), 1, "kfleet: /x: Permission denied"),
        (KeyboardInterrupt(), 130, "kfleet: interrupted"),
        (ValueError("odd"), 1, "kfleet: internal error: ValueError: odd (KFLEET_DEBUG=1 shows where)"),
    ],
)
def test_every_exception_has_a_line_and_a_code(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFLEET_DEBUG", raising=False)
    assert errors.report(error) == code
    assert capsys.readouterr().err == says + "\n"
