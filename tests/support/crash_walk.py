"""An operator that is killed before and after every mutating call, each exactly once.

`python -m support.crash_walk STATE` runs the real operator with an interceptor around its ports. The parent has
imported everything and forks one child a life, so that a life is short. The interceptor kills its own process with
SIGKILL before call N and, in the next life, after call N; then N counts on. STATE (JSON) holds N and the phase, and
STATE.journal one line a kill, so a test can say what was walked. SIGTERM to the parent ends the walk: the child of that
moment is told to stop.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1


class CrashBeforeAndAfterEachCall:
    def __init__(self, state: Path) -> None:
        self._state = state
        self._pending = False

    def before(self, call: str) -> None:
        number, phase = self._read()
        if phase == "before":
            self._die(number, "before", call, next_state=(number, "after"))
        self._pending = True

    def after(self, call: str) -> None:
        if self._pending:
            number, _ = self._read()
            self._die(number, "after", call, next_state=(number + 1, "before"))

    def _read(self) -> tuple[int, str]:
        if not self._state.exists():
            return 1, "before"
        document = json.loads(self._state.read_text())
        return document["number"], document["phase"]

    def _die(self, number: int, phase: str, call: str, *, next_state: tuple[int, str]) -> None:
        temporary = self._state.with_suffix(".tmp")
        temporary.write_text(json.dumps({"number": next_state[0], "phase": next_state[1]}))
        temporary.replace(self._state)
        with Path(f"{self._state}.journal").open("a") as journal:
            journal.write(f"{number} {phase} {call}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    state = Path(sys.argv[1])
    from operators import main as operator

    walk(lambda: operator.run([CrashBeforeAndAfterEachCall(state)]))


def walk(live: Callable[[], None]) -> None:
    """One life after another in a forked child, until one of them ends by itself or SIGTERM ends the walk."""
    child = 0
    parent = os.getpid()
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if child:
            os.kill(child, signal.SIGTERM)

    while not ending:
        child = os.fork()
        if child == 0:
            # Whatever ends the parent ends the operator: two under one identity would both hold the Lease.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # it had ended before that
            live()
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not killed and not ending:
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
