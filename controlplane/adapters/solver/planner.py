"""Planners in a process of their own: planning takes CPU for seconds or minutes, and OR-tools 100 MB.

`python -m controlplane.adapters.solver.planner` reads one question from stdin and writes the answer to stdout. It ends
by itself, also when nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

from controlplane.adapters.solver import worker
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.values import CellView, Outcome
from controlplane.ports import PlanningError

_SHOWN = 400


class ProcessPlanner:
    """Implements ports.RebalancePlanner and ports.TenantPlanner, one question at a time. `timeout` seconds are what one
    may take, waiting for others apart."""

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self._one = asyncio.Lock()

    async def propose(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> Proposal | Infeasible:
        found: Proposal | Infeasible = await self._answer(worker.plan_rebalance, assignment, tuple(brokers), goal)
        return found

    async def plan_cell(self, known: Directory, view: CellView, now: float) -> dict[str, Outcome]:
        found: dict[str, Outcome] = await self._answer(worker.plan_tenants, known.tenants, view, now)
        return found

    async def _answer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of `worker` says to plain values."""
        question = await asyncio.to_thread(pickle.dumps, (function, arguments))
        async with self._one:
            answer = await self._asked(question)
        return await asyncio.to_thread(pickle.loads, answer)

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
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the process that started this one
    sys.stdout.buffer.write(pickle.dumps(function(*arguments)))


if __name__ == "__main__":
    main()
