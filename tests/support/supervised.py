"""An operator that is started again whenever it has ended, as a Deployment would: without its Lease it has to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.operator import OperatorProcess

BACK_OFF_SECONDS = 3.0


class Supervisor:
    """`restarts` counts. Settings that are changed count from the next start: see `restart`."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator = operator
        self._over = threading.Event()
        self._guard = threading.Lock()
        self.restarts = 0

    def restart(self) -> None:
        """Stops it and starts it with the settings of now."""
        with self._guard:
            self._operator.stop()
            self._operator.start()

    def keep(self) -> None:
        while not self._over.wait(BACK_OFF_SECONDS):
            with self._guard:
                if self._operator.process is not None and self._operator.process.poll() is not None:
                    self._operator.start()
                    self.restarts += 1

    def end(self) -> None:
        self._over.set()


@contextmanager
def supervised(operator: OperatorProcess) -> Iterator[Supervisor]:
    """Ends with the block, before the operator is stopped for good."""
    supervisor = Supervisor(operator)
    thread = threading.Thread(target=supervisor.keep, name="supervisor", daemon=True)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.end()
        thread.join()
