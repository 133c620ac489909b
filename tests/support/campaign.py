"""The stage of `make campaign-rolling`: clusters, and what is watched while a scenario runs on one.

A scenario is one stretch of traffic on a real cluster with a roll in it. It passes when it came to its end as written,
nothing acknowledged was lost or changed its place, the judge found nothing, and each pod was stopped as often as it
says.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.audit import OPERATOR_USER
from support.campaign_verdict import SCENARIOS, complaints
from support.cell import Cell, combined_cluster, make_cell, topic
from support.roll_judge import Broken, Stop, judge, under_min_isr_s
from support.roll_witness import Stops, Witness
from support.sandbox import Sandbox
from support.supervised import Supervisor, supervised
from support.traffic import Traffic

RECORD = "campaign-rolling"
TOPIC = "orders"
CONTROLLERS, BROKERS = (0, 1, 2), (3, 4, 5)
HEAP_MIB = 256
RATE = 300
HOLD_SECONDS = 15.0
"""How long a held roll is watched for a stop that must not come."""
PATIENT = {
    "KFLEET_LEASE_DURATION": "15",
    "KFLEET_LEASE_RENEW_INTERVAL": "2",
    "KFLEET_CELL_LOCK_DURATION": "15",
}
"""Leases that a busy machine does not cost an operator, and that are over when the API server was gone for long."""


@dataclass
class Result:
    name: str
    outcome: str
    passed: bool
    figures: dict[str, Any]


@dataclass
class Run:
    """One scenario under way. `broken` is what the test breaks, for the judge; `said` what the roll was held with."""

    cell: Cell
    sandbox: Sandbox
    supervisor: Supervisor
    stops: Stops
    witness: Witness
    traffic: Traffic
    broken: list[Broken] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    expected: Mapping[int, int] = field(default_factory=dict)
    """Node to how often the operator shall stop it."""

    def target(self, node: int) -> str:
        return f"{self.cell.namespace}/{pod_name(node)}"

    def breaks(self, node: int) -> None:
        self.broken.append(Broken(node, time.time()))

    def stopped(self, number: int, seconds: float = 300.0) -> Stop:
        """The operator's stop of that number since the scenario began, from 1, once it is made."""
        self.cell.wait(f"stop {number}", lambda: len(self.stops.all()) >= number, seconds)
        return self.stops.all()[number - 1]

    def held(self, pattern: str, *, but: int | None = None, seconds: float = 300.0) -> None:
        """Waits until the roll says why it does not go on, then that it stops nothing for a while.

        `but` is a node that is not up: that one may be stopped, so that its new spec reaches it.
        """
        text = self.cell.wait(f"the roll to say {pattern}", lambda: said(self.cell, pattern), seconds)
        self.said.append(text)
        before = self._stops_but(but)
        time.sleep(HOLD_SECONDS)
        assert self._stops_but(but) == before, "it went on while it had to wait"

    def _stops_but(self, node: int | None) -> list[Stop]:
        return [stop for stop in self.stops.all() if stop.node != node]

    def rolled(self, seconds: float = 600.0) -> None:
        self.cell.wait("the roll to end", lambda: ended(self.cell), seconds)


def ended(cell: Cell) -> bool:
    return cell.is_ready() and not cell.cluster()["status"].get("operation")


def said(cell: Cell, pattern: str) -> str:
    """The first condition whose reason or message has the pattern, as "reason: message"."""
    for condition in cell.cluster().get("status", {}).get("conditions", []):
        text = f"{condition['reason']}: {condition['message']}"
        told = condition["type"] in ("Blocked", "RollingOut") and condition["status"] == "True"
        if told and re.search(pattern, text):
            return text[:300]
    return ""


def pod_name(node: int) -> str:
    return f"cell-{'controllers' if node in CONTROLLERS else 'brokers'}-{node}"


def pools(heap_mib: int) -> list[dict[str, Any]]:
    """Three controllers and three brokers; another heap restarts the brokers alone."""
    pool = combined_cluster()["spec"]["nodePools"][0]
    return [
        pool | {"name": "controllers", "roles": ["Controller"], "jvm": {"heap": f"{HEAP_MIB}Mi"}},
        pool | {"name": "brokers", "roles": ["Broker"], "jvm": {"heap": f"{heap_mib}Mi"}},
    ]


class Stage:
    """One cluster for one scenario after the other; one that a scenario left broken is not used again."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox, self._directory = sandbox, directory
        self.results: list[Result] = []
        self.heap_mib = HEAP_MIB
        self._cells, self._number = ExitStack(), 0
        self._cell: Cell | None = None
        self._supervisor: Supervisor | None = None

    @property
    def supervisor(self) -> Supervisor:
        """Of the operator of the cluster that is there."""
        assert self._supervisor is not None, "there is no cluster yet"
        return self._supervisor

    def cell(self, version: str) -> Cell:
        """The cluster that is there if it is well, else a new one of that version with the topic of the traffic."""
        if self._cell is not None:
            return self._cell
        self._number += 1
        name = f"campaign-{self._number}"
        directory = self._directory / name
        directory.mkdir()
        self.end_cluster()
        cell = self._cells.enter_context(make_cell(self.sandbox, name, directory))
        cell.operator.settings |= PATIENT
        self._supervisor = self._cells.enter_context(supervised(cell.operator))
        self._supervisor.restart()
        self.heap_mib = HEAP_MIB
        cell.apply(
            combined_cluster(version=version, nodePools=pools(HEAP_MIB)),
            topic(TOPIC, config={"min.insync.replicas": 2}),
        )
        cell.wait_ready(600)
        cell.wait("topic", lambda: cell.get("kafkatopics.kfleet.dev", TOPIC).get("status", {}).get("topicId"), 60)
        self._cell = cell
        return cell

    def restart_brokers(self, cell: Cell) -> None:
        """Asks for a roll of the three brokers."""
        self.heap_mib += 2
        cell.patch({"nodePools": pools(self.heap_mib)})

    def end_cluster(self) -> None:
        self._cells.close()
        self._cells, self._cell = ExitStack(), None

    @contextmanager
    def scenario(self, name: str, directory: Path, version: str = "4.3.1") -> Iterator[Run]:
        """Traffic, witness and audit log around the block; at its end the verdict, which it asserts."""
        assert name in SCENARIOS, name
        cell = self.cell(version)
        servers = [f"{pod['status']['podIP']}:9092" for node, pod in sorted(cell.pods().items()) if node in BROKERS]
        run = Run(
            cell,
            self.sandbox,
            self.supervisor,
            Stops(self.sandbox.paths.audit_log, OPERATOR_USER, cell.namespace),
            Witness(servers),
            Traffic(cell.bootstrap(), TOPIC, directory / "canary.jsonl", RATE),
        )
        began, how = time.monotonic(), "Ended"
        try:
            run.traffic.wait_flowing()
            run.witness.start()
            yield run
        except BaseException as error:
            how = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            raise
        finally:
            seconds, stops = time.monotonic() - began, run.stops.all()
            run.witness.stop()
            run.traffic.stop()
            result = verdict(name, how, run, stops, seconds)
            self.results.append(result)
            print(json.dumps(result.__dict__, indent=1))
            if not result.passed:
                self._cell = None
        assert result.passed, result


def verdict(name: str, how: str, run: Run, stops: Sequence[Stop], seconds: float) -> Result:
    account, sightings = run.traffic.account(), run.witness.sightings
    found = judge(sightings, stops, run.broken)
    stopped = dict(sorted(Counter(stop.node for stop in stops).items()))
    problems = [
        *([] if how == "Ended" else [how]),
        *complaints(account, found, new_epochs=run.traffic.new_epochs()),
        *([] if how != "Ended" or stopped == dict(run.expected) else [f"stopped {stopped}, not {dict(run.expected)}"]),
    ]
    kept = ("sent", "acknowledged", "consumed", "lost", "duplicated", "reordered", "failed", "p99_ms", "max_ms")
    return Result(
        name,
        outcome="; ".join(problems) or "; ".join(["Ended", *(f"held by {text}" for text in run.said)]),
        passed=not problems,
        figures={
            "seconds": round(seconds, 1),
            "canary": {key: account[key] for key in kept},
            "stops": {str(node): number for node, number in stopped.items()},
            "sightings": len(sightings),
            "longest_gap_s": round(run.witness.longest_gap_s(), 1),
            "under_min_isr_s": round(under_min_isr_s(sightings), 1),
            "under_min_isr_through_us": sum(one.kind == "UnderMinIsr" for one in found),
            "unsafe_stops": sum(one.kind == "UnsafeStop" for one in found),
        },
    )
