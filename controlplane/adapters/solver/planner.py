"""ports.RebalancePlanner in a process of its own: planning takes CPU for seconds or minutes, and OR-tools 100 MB.

`python -m controlplane.adapters.solver.planner` reads one question from stdin and writes the answer to stdout. It ends
by itself, also when nobody waits for the answer any more; one process at a time is enough for an operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from collections.abc import Sequence

from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible
from controlplane.ports import PlanningError

_SHOWN = 400


class ProcessPlanner:
    """Implements ports.RebalancePlanner. `timeout` seconds are what one question may take, waiting for others apart."""

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self._one = asyncio.Lock()

    async def propose(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> Proposal | Infeasible:
        question = await asyncio.to_thread(pickle.dumps, (assignment, tuple(brokers), goal))
        async with self._one:
            answer = await self._asked(question)
        found: Proposal | Infeasible = await asyncio.to_thread(pickle.loads, answer)
        return found

    async def _asked(self, question: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._timeout):
                answer, words = await process.communicate(question)
        except TimeoutError:
            raise PlanningError(f"no plan was found within {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = words.decode(errors="replace").strip().splitlines()
            why = lines[-1][:_SHOWN] if lines else f"exit code {process.returncode}"
            raise PlanningError(f"the process that plans ended without an answer: {why}")
        return answer


def main() -> None:
    """The process: one question, one answer."""
    from controlplane.adapters.solver.worker import plan_rebalance  # noqa: PLC0415 - this process alone solves

    question = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the process that started this one
    sys.stdout.buffer.write(pickle.dumps(plan_rebalance(*question)))


if __name__ == "__main__":
    main()
