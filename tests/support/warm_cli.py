"""`kfleet` as a process, without the second that its imports take: forked from one that has them all.

It is the program from its entry point on, with descriptors, signals and an end of its own. How it starts is not shown
by it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from support import cli_tree
from support.cli_tree import Run

from controlplane.cli import main as cli

TESTS = Path(__file__).parents[1]


class WarmCli:
    """One command at a time. `unreachable` is a kubeconfig of an API server that refuses connections."""

    def __init__(self, unreachable: Path, directory: Path) -> None:
        self._output = directory / "stdout", directory / "stderr"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.warm_cli", str(unreachable), *map(str, self._output)],
            cwd=TESTS,
            env={key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.returncode == 0

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None, keyboard: str = os.devnull
    ) -> int:
        """The process id. By default it has the environment that this was made in, without kfleet's settings; its
        standard input is what is at `keyboard`, such as a terminal."""
        assert self._process.stdin is not None
        asked = [list(arguments), None if environment is None else dict(environment), keyboard]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._told()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], keyboard: str = os.devnull
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run; what bounds it is the time that its test has."""
        pid = self.start(arguments, environment, keyboard)
        try:
            done = self.ended()
        except BaseException:  # its test is over: the next one must not hear of this end
            os.kill(pid, signal.SIGKILL)
            self.ended()
            raise
        return subprocess.CompletedProcess(["kfleet", *arguments], done.code, done.stdout, done.stderr)

    def ended(self) -> Run:
        """Waits for the end of what was started; the code is negative for a signal that ended it."""
        code = self._told()
        out, err = (path.read_text() for path in self._output)
        return Run(code, out, err)

    def _told(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def main() -> None:
    unreachable, *output = sys.argv[1:]
    for leaf in cli_tree.leaves():
        if leaf.asks_kubernetes:  # gets as far as its connection: what it imports until then is imported
            cli_tree.run([*leaf.words, *leaf.arguments(), "--kubeconfig", unreachable])
    gc.freeze()  # what is there for every command is neither looked through nor copied by any
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            arguments, environment, keyboard = json.loads(line)
            os.dup2(os.open(keyboard, os.O_RDONLY | os.O_NOCTTY), 0)
            for descriptor, path in enumerate(output, 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115 - nothing of ours is left in its buffer
            if environment is not None:
                os.environ.clear()
                os.environ.update(environment)
            sys.argv = ["kfleet", *arguments]
            cli.main()
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
