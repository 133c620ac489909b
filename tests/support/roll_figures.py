"""What a roll cost: its phases, one row a roll, ratios of pairs, and targets. Pure; the clock is the caller's.

A pair is one hand-made roll and one of ours with the same client. A ratio is ours / plain of one pair; what counts is
the median over pairs, since one slow second of the machine must not decide. Times are seconds, latencies milliseconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from support.pages import with_part

Side = Literal["plain", "ours"]
SIDES: tuple[Side, ...] = get_args(Side)
Row = dict[str, Any]

FIGURES = {
    "wall_s": "wall time, s",
    "worst_ms": "worst latency, ms",
    "p99_ms": "p99 latency, ms",
    "stalls": "stalls over 100 ms",
    "stalled_ms": "stalled altogether, ms",
}
"""What is compared, and its name for people. `stalls` are spans over 100 ms of one partition, `stalled_ms` their sum
(domain/accounting)."""
TARGETS = {"wall_s": 0.8, "worst_ms": 0.5}
"""The most that ours / plain may be."""
NEVER = ("lost", "failed", "unresolved")
"""Records that ours must have none of."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at one pod, at `at_s`."""

    at_s: float
    pod: str
    uid: str
    gone: bool = False
    terminating: bool = False
    running: bool = False
    ready: bool = False


@dataclass(frozen=True, slots=True)
class NodePhases:
    """One node's restart. stop: asked to stop until it has ended. replace: until its successor exists. launch: until
    Kafka's process runs. start: until it is ready (by hand: until its port accepts). back: until the next is asked to
    stop, or the roll is over."""

    node: str
    stop_s: float
    replace_s: float
    launch_s: float
    start_s: float
    back_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """`decide_s`: from the change until the first node was asked to stop. All phases together are the wall time."""

    decide_s: float
    nodes: tuple[NodePhases, ...]

    @property
    def wall_s(self) -> float:
        return self.decide_s + sum(sum(list(asdict(node).values())[1:]) for node in self.nodes)


def timeline(began_s: float, ended_s: float, sights: Iterable[Sight]) -> Timeline:
    """Raises ValueError unless every pod that was asked to stop has gone and its successor has become ready."""
    stages: dict[str, dict[str, float]] = {}
    old: dict[str, str] = {}
    for sight in sorted(sights, key=lambda one: one.at_s):
        stage = stages.get(sight.pod)
        if stage is None:
            if sight.terminating and sight.at_s >= began_s:
                stages[sight.pod], old[sight.pod] = {"asked": sight.at_s}, sight.uid
            continue
        if sight.uid == old[sight.pod]:
            if sight.gone:
                stage.setdefault("gone", sight.at_s)
            continue
        stage.setdefault("made", sight.at_s)
        if sight.running or sight.ready:
            stage.setdefault("running", sight.at_s)
        if sight.ready:
            stage.setdefault("ready", sight.at_s)
    for pod, stage in stages.items():
        if missing := {"gone", "made", "running", "ready"} - stage.keys():
            raise ValueError(f"{pod} was stopped and never seen {', '.join(sorted(missing))}")
    order = sorted(stages, key=lambda pod: stages[pod]["asked"])
    if not order:
        return Timeline(ended_s - began_s, ())
    ends = [*(stages[pod]["asked"] for pod in order[1:]), ended_s]
    return Timeline(
        decide_s=stages[order[0]]["asked"] - began_s,
        nodes=tuple(_phases(pod, stages[pod], end) for pod, end in zip(order, ends, strict=True)),
    )


def _phases(pod: str, stage: dict[str, float], end_s: float) -> NodePhases:
    return NodePhases(
        node=pod,
        stop_s=stage["gone"] - stage["asked"],
        replace_s=stage["made"] - stage["gone"],
        launch_s=stage["running"] - stage["made"],
        start_s=stage["ready"] - stage["running"],
        back_s=end_s - stage["ready"],
    )


def medians_of_phases(rows: Sequence[Row], side: Side) -> dict[str, float]:
    """Seconds a roll spends in each phase, all nodes together, medians over the side's rolls."""
    spent: dict[str, list[float]] = {}
    for row in rows:
        if row["side"] == side:
            spent.setdefault("decide_s", []).append(row["decide_s"])
            for phase in ("stop_s", "replace_s", "launch_s", "start_s", "back_s"):
                spent.setdefault(phase, []).append(sum(node[phase] for node in row["nodes"]))
    return {phase: round(statistics.median(values), 2) for phase, values in spent.items()}


def ratios(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Per client and figure the median of ours / plain. None where no pair has both, or plain is 0 in every pair."""
    found: dict[str, dict[str, float | None]] = {}
    for client in dict.fromkeys(row["client"] for row in rows):
        sides = {(row["pair"], row["side"]): row for row in rows if row["client"] == client}
        pairs = sorted({pair for pair, _ in sides if all((pair, side) in sides for side in SIDES)})
        found[client] = {}
        for figure in FIGURES:
            of_pairs = [
                sides[pair, "ours"][figure] / sides[pair, "plain"][figure]
                for pair in pairs
                if sides[pair, "ours"][figure] is not None and sides[pair, "plain"][figure]
            ]
            found[client][figure] = round(statistics.median(of_pairs), 3) if of_pairs else None
    return found


def verdicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each target beside what was measured. What could not be measured is not met."""
    found = [
        {
            "client": client,
            "figure": f"{figure}, ours / plain",
            "at_most": at_most,
            "measured": measured[figure],
            "met": _met(measured[figure], at_most),
        }
        for client, measured in ratios(rows).items()
        for figure, at_most in TARGETS.items()
    ]
    for client in dict.fromkeys(row["client"] for row in rows):
        ours = [row for row in rows if row["client"] == client and row["side"] == "ours"]
        for figure in NEVER:
            total = sum(row[figure] for row in ours)
            met = total == 0 and bool(ours) and all(row["complete"] for row in ours)
            found.append({"client": client, "figure": figure, "at_most": 0, "measured": total, "met": met})
    return found


def table(rows: Sequence[Row]) -> str:
    """Raw rows, ratios, and targets as text."""
    columns = ("pair", "client", "side", *FIGURES, "p50_ms", "lost", "failed", "cpu_percent")
    lines = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[at]) for line in lines)) for at, column in enumerate(columns)]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in [columns, *lines]
    ]
    for side in SIDES:
        spent = ", ".join(f"{phase} {seconds:g}" for phase, seconds in medians_of_phases(rows, side).items())
        text.append(f"{side}: {spent}")
    for one in verdicts(rows):
        words = "met" if one["met"] else "NOT MET"
        text.append(f"{one['client']}: {one['figure']}: {one['measured']} (at most {one['at_most']}): {words}")
    return "\n".join(text)


def with_table(page: str, record: Mapping[str, Any] | None) -> str:
    """The page with the ratios and medians of the record, if there is one. Raises ValueError without marks."""
    text = "No record of a quiet machine yet." if record is None else summary(record["outcomes"]["rows"])
    return with_part(page, "bench-roll", text)


def summary(rows: Sequence[Row]) -> str:
    """Medians of each side and of the pairs' ratios, as a table of a document."""
    lines = [
        "| producer | figure | by hand | kfleet | kfleet / by hand | target | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for client, of_pairs in ratios(rows).items():
        for figure, name in FIGURES.items():
            plain, ours = (
                statistics.median(row[figure] for row in rows if (row["client"], row["side"]) == (client, side))
                for side in SIDES
            )
            ratio, target = of_pairs[figure], TARGETS.get(figure)
            told = f"at most {target} | {'met' if _met(ratio, target) else 'not met'}" if target is not None else "|"
            shown = "-" if ratio is None else f"{ratio:.2f}"
            lines.append(f"| {client} | {name} | {plain:,.4g} | {ours:,.4g} | {shown} | {told} |")
        lost = sum(row[figure] for figure in NEVER for row in rows if (row["client"], row["side"]) == (client, "ours"))
        lines.append(
            f"| {client} | records lost, failed or left open | | {lost} | | 0 | {'not met' if lost else 'met'} |"
        )
    return "\n".join(lines)


def _met(measured: float | None, at_most: float) -> bool:
    return measured is not None and measured <= at_most
