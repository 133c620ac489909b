"""Where `kfleet upgrade advise` gets its answer from, and how it looks."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

from controlplane.api.group import GROUP
from controlplane.api.owned_config import config_texts
from controlplane.cli.cluster_observe import observer, read_cluster, why_silent
from controlplane.cli.cluster_snapshot import read_snapshot
from controlplane.cli.connect import connect
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import CLUSTERS, find
from controlplane.cli.options import Output, Where
from controlplane.cli.render import View, show_one, table
from controlplane.domain import versions
from controlplane.domain.hazards.advice import CLIENTS_BASELINE, Advice, advise
from controlplane.domain.hazards.values import Blocks, Finding, Section
from controlplane.domain.observation import ClusterObservation

WIDTH = 100
_SECTIONS = {
    Section.KAFKA: "an answer of the brokers",
    Section.LEVEL: "the finalised metadata.version",
    Section.SPEC: "the spec",
}
NOT_REPORTED = "not reported by brokers"


async def from_cluster(where: Where, name: str, target: str) -> Advice:
    """Raises KubeError, and CliError for a version that is not known."""
    async with connect(where) as connection, observer(connection) as observe:
        obj = await find(connection, CLUSTERS, name)
        cluster = read_cluster(obj)
        _known(target)
        observation = await observe(obj)
    if observation.kafka is None:
        print(f"kfleet: {why_silent(observation)}: features are as the operator last saw them", file=sys.stderr)
    status = cluster.status
    return _advise(
        observation,
        target,
        running=(status.version,) if status.version else (),
        level=_level(status.metadata_version),
        declared=config_texts(cluster.spec.config),
        pin=cluster.spec.metadata_version,
    )


def from_snapshot(file: Path, name: str, target: str) -> Advice:
    """Raises OSError, and CliError for a file that is no snapshot of that cluster."""
    _known(target)
    return _advise(read_snapshot(file, name), target)


def _advise(observation: ClusterObservation, target: str, **known: Any) -> Advice:
    try:
        return advise(observation, target, **known)
    except ValueError as error:
        raise CliError(f"{observation.namespace}/{observation.name}: {error}") from error


def _known(target: str) -> None:
    check = versions.check_known(target)
    if not check.ok:
        raise CliError(f"--to: Kafka {target!r} is not known to this kfleet. {check.remedy}", ExitCode.USAGE)


def _level(name: str | None) -> int | None:
    try:
        return versions.metadata_level(name) if name else None
    except versions.UnknownMetadataVersionError:
        return None


def show_advice(output: Output, advice: Advice) -> bool:
    """Print it; whether nothing stands in the way."""
    show_one(output, VIEW, advice, text=lambda: advice_text(advice))
    return advice.clear


def _document(advice: Advice) -> dict[str, Any]:
    return {
        "namespace": advice.namespace,
        "name": advice.name,
        "running": list(advice.running),
        "target": advice.target,
        "clear": advice.clear,
        "refused": [
            {"name": check.name, "evidence": check.evidence, "remedy": check.remedy} for check in advice.refused
        ],
        "path": None
        if advice.path is None
        else [
            {
                "from": hop.start,
                "to": hop.end,
                "finalise": versions.level_name(hop.level_after) if hop.level_after > hop.level_before else None,
                "pointOfNoReturn": hop.no_return,
            }
            for hop in advice.path
        ],
        "features": [
            {"name": feature.name, "now": feature.now, "after": feature.after, "highest": feature.highest}
            for feature in advice.features
        ],
        "hazards": [_hazard(found) for found in advice.findings.applying],
        "undecided": [
            {"id": entry.hazard.id, "needs": sorted(section.value for section in entry.missing)}
            for entry in advice.findings.undecided
        ],
        "clients": {
            "seen": None,
            "oldStopWorking": advice.clients_cut,
            "workFrom": dict(CLIENTS_BASELINE) if advice.clients_cut else {},
        },
        "pointOfNoReturn": advice.no_return,
    }


def _hazard(found: Finding) -> dict[str, Any]:
    hazard = found.hazard
    return {
        "id": hazard.id,
        "title": hazard.title,
        "blocks": hazard.blocks.value,
        "affected": str(hazard.affected),
        "source": hazard.source,
        "evidence": found.evidence,
        "remedy": hazard.remedy,
    }


VIEW = View[Advice]("UpgradeAdvice", (), lambda advice: f"kafkacluster.{GROUP}/{advice.name}", _document)


def advice_text(advice: Advice) -> str:
    """For people: what stands in the way first, then the way, then what to know about it."""
    parts = [f"{advice.namespace}/{advice.name}: {', '.join(advice.running)} to {advice.target}"]
    if advice.refused:
        lines = [f"{check.name}: {check.evidence} {check.remedy}" for check in advice.refused]
        parts.append(_block("refused", lines))
    if advice.path is not None:
        parts.append(_block("path", _path_lines(advice)))
    rows = [[f.name, _number(f.now), _number(f.after), _number(f.highest)] for f in advice.features]
    parts.append("features\n" + textwrap.indent(table(["FEATURE", "NOW", "AFTER", "HIGHEST"], rows), "  "))
    parts.append(_block("hazards", [_hazard_line(found) for found in advice.findings.applying] or ["none is known"]))
    if advice.findings.undecided:
        ids = [
            f"{entry.hazard.id} ({entry.hazard.title}): needs {_needs(entry.missing)}"
            for entry in advice.findings.undecided
        ]
        parts.append(_block("not decided", ids))
    parts.append(_block("clients", _client_lines(advice)))
    parts.append(_block("point of no return", [_return_line(advice)]))
    return "\n\n".join(parts)


def _path_lines(advice: Advice) -> list[str]:
    lines = []
    for at, hop in enumerate(advice.path or (), start=1):
        roll = f"roll {hop.start} to {hop.end}" if hop.start != hop.end else f"stay on {hop.start}"
        final = f", then finalise {versions.level_name(hop.level_after)}" if hop.level_after > hop.level_before else ""
        lines.append(f"{at}. {roll}{final}{' (no way back after that)' if hop.no_return else ''}")
    return lines or [f"none is needed: it runs {advice.target} and everything is finalised"]


def _hazard_line(found: Finding) -> str:
    hazard = found.hazard
    blocks = f" [blocks {hazard.blocks.value.lower()}]" if hazard.blocks is not Blocks.NOTHING else ""
    return f"{hazard.id}{blocks}: {found.evidence}. {hazard.remedy}"


def _client_lines(advice: Advice) -> list[str]:
    if not advice.clients_cut:
        return [f"no protocol version that clients use is removed (clients' versions: {NOT_REPORTED})"]
    works = ", ".join(f"{client} {version}" for client, version in CLIENTS_BASELINE.items())
    return [f"versions in use: {NOT_REPORTED}", f"these and later ones work with Kafka 4 (KIP-896): {works}"]


def _return_line(advice: Advice) -> str:
    if advice.no_return is not None:
        return f"finalising {advice.no_return}: until then setting spec.version back rolls everything back"
    if advice.path is None:
        return "not known: there is no path" if advice.level is not None else "not known"
    return "none that changes the metadata format; metadata.version is never lowered by kfleet all the same"


def _block(title: str, lines: list[str]) -> str:
    wrapped = (
        textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        for line in lines
    )
    return "\n".join([title, *wrapped])


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _needs(sections: frozenset[Section]) -> str:
    return " and ".join(_SECTIONS[section] for section in Section if section in sections)
