"""Which worker of pytest-xdist gets which test module, and when: the longest first, so that none is left with a long
one while another has nothing to do.

A figure that is no longer right costs time, nothing else. `pytest --durations=0` says what a module takes.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadfile import LoadFileScheduling
from xdist.workermanage import WorkerController

LAST = ("e2e/test_isolation", "e2e/test_privileges")
"""What waits until all other workers have ended, in this order; one worker gets them all, or two would wait for each
other."""

USUAL_SECONDS: Mapping[str, int] = {
    "e2e/test_main_job": 420,
    "e2e/test_rebalance": 370,
    "e2e/test_rolling": 200,
    "e2e/test_operations": 200,
    "e2e/test_way_back": 190,
    "e2e/test_access": 150,
    "e2e/test_users": 150,
    "e2e/test_drain": 130,
    "e2e/test_disks": 110,
    "e2e/test_membership": 110,
    "e2e/test_tenants": 100,
    "e2e/test_scale_and_topics": 105,
    "e2e/test_tenant_topics": 70,
    "integration/test_docs_quickstart": 300,
    "integration/test_local": 280,
    "integration/test_cli_cluster": 160,
    "integration/test_canary": 150,
    "integration/test_witness": 140,
    "integration/test_approvals_cli": 110,
    "integration/test_approvals": 90,
    "integration/test_operation_engine": 80,
    "integration/test_canary_login": 70,
}
UNKNOWN_SECONDS = 50


def rank(module: str) -> tuple[int, int]:
    """Sorts modules; `module` is a path below tests without its suffix."""
    if module in LAST:
        return 1, LAST.index(module)
    return 0, -USUAL_SECONDS.get(module, UNKNOWN_SECONDS)


class ModuleScheduling(LoadFileScheduling):
    """A whole module to one worker, in the order of collection, when that worker is at the last test of the one before.

    pytest-xdist by itself begins with what has the most tests, and decides three tests ahead, which may be minutes.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return "last" if path.removeprefix("tests/").removesuffix(".py") in LAST else path

    def _reschedule(self, node: WorkerController) -> None:
        # A worker begins a test once it knows the next one: the last one waits for this.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)
