"""The hazard catalogue: for every entry an observation that it applies to and one that it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain import hazards
from controlplane.domain.cluster.dynamic import changes
from controlplane.domain.hazards.values import Affected, Blocks, Section, Situation
from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    PartitionObservation,
    QuorumObservation,
    Role,
    VoterObservation,
)

NOW = 1_700_000_000.0


def observed(
    *,
    nodes: int = 3,
    roles: frozenset[Role] = frozenset({Role.BROKER, Role.CONTROLLER}),
    features: Mapping[str, int] | None = None,
    dynamic: Mapping[str, str] | None = None,
    replicas: tuple[int, ...] = (0, 1, 2),
    isr: tuple[int, ...] = (0, 1, 2),
    voters: tuple[int, ...] = (0, 1, 2),
) -> ClusterObservation:
    ids = range(nodes)
    kafka = KafkaObservation(
        as_of=NOW,
        cluster_id="c",
        brokers=tuple(BrokerObservation(number, "a", "h", 9091) for number in ids),
        partitions=(PartitionObservation("t", 0, isr[0], replicas, isr, 2),),
        features={"metadata.version": 29, "kraft.version": 1} if features is None else features,
        dynamic_config=dynamic or {},
    )
    quorum = QuorumObservation(
        NOW, 0, 1, tuple(VoterObservation(number, "d", 9, 0, caught_up=True) for number in voters)
    )
    found = tuple(NodeObservation(number, "nodes", roles, None) for number in ids)
    return ClusterObservation(NOW, "kafka", "cell", found, quorum, kafka)


def situation(
    running: str = "4.2.0",
    target: str = "4.3.1",
    *,
    declared: Mapping[str, str] | None = None,
    finalised: int | None = 29,
    level: int | None = None,
    **more: Any,
) -> Situation:
    return Situation(observed(**more), running, target, declared or {}, finalised, level)


TIERED = {"remote.log.storage.system.enable": "true", "log.retention.bytes": "1000000"}
ELR = {"metadata.version": 29, "kraft.version": 1, "eligible.leader.replicas.version": 1}


@dataclass(frozen=True)
class Pair:
    applies: Situation
    says: str
    does_not: tuple[Situation, ...]


PAIRS = {
    "KAFKA-20732": Pair(
        situation(declared=TIERED),
        "log.retention.bytes is 1000000",
        (
            situation(declared=TIERED | {"log.retention.bytes": "-1"}),
            situation(declared={"log.retention.bytes": "1000000"}),
            situation(declared={"remote.log.storage.system.enable": "true"}, dynamic=TIERED),
            situation(declared={"remote.log.storage.system.enable": "true"}),
            situation("4.4.0", "4.4.1", declared=TIERED),
        ),
    ),
    "STALE-REGISTRATION": Pair(
        situation(replicas=(0, 1, 7), isr=(0, 1)),
        "not part of the cluster any more (7)",
        (situation(), situation(nodes=4)),
    ),
    "POINT-OF-NO-RETURN": Pair(
        situation(finalised=29, level=30),
        "finalising 4.3-IV0 over 4.2-IV1",
        (situation(finalised=27, level=29), situation(finalised=30, level=None)),
    ),
    "METADATA-SNAPSHOT": Pair(
        situation("4.2.0", "4.1.2"), "4.2.0 to 4.1.2 is a downgrade", (situation(), situation("4.2.0", "4.2.0"))
    ),
    "KAFKA-21426": Pair(
        situation(features={"metadata.version": 29}),
        "kraft.version 0",
        (situation(), situation(features={}), situation("3.8.1", "3.8.1", features={"metadata.version": 20})),
    ),
    "ELR-MIN-ISR": Pair(
        situation(
            declared={"min.insync.replicas": "1"}, features=ELR, isr=(0, 1), dynamic={"min.insync.replicas": "2"}
        ),
        "is to become 1",
        (
            situation(declared={"min.insync.replicas": "1"}, features=ELR, dynamic={"min.insync.replicas": "2"}),
            situation(declared={"min.insync.replicas": "1"}, isr=(0, 1), dynamic={"min.insync.replicas": "2"}),
            situation(
                declared={"min.insync.replicas": "2"}, features=ELR, isr=(0, 1), dynamic={"min.insync.replicas": "2"}
            ),
            situation(features=ELR, isr=(0, 1), dynamic={"min.insync.replicas": "2"}),
        ),
    ),
    "MAX-CONNECTIONS-ZERO": Pair(
        situation(declared={"max.connections": "0"}),
        "max.connections is 0",
        (situation(declared={"max.connections": "10"}), situation()),
    ),
    "KIP-896": Pair(
        situation("3.9.2", "4.0.2"),
        "clients before 2.1",
        (situation("4.0.2", "4.1.2"), situation("3.9.2", "3.9.2")),
    ),
    "KAFKA-19012": Pair(
        situation("4.0.2", "4.3.1"), "the clients of 4.0.2", (situation("4.1.2", "4.2.0"), situation())
    ),
    "KAFKA-20254": Pair(
        situation("4.1.2", "4.2.0", features={"metadata.version": 27, "streams.version": 1}),
        "streams.version is on",
        (
            situation("4.1.2", "4.2.0"),
            situation("4.1.2", "4.3.1", features={"metadata.version": 27, "streams.version": 1}),
        ),
    ),
    "LIBRDKAFKA-5301": Pair(situation(), "3 brokers will restart", (situation(roles=frozenset({Role.CONTROLLER})),)),
    "WEAK-DEFAULTS": Pair(
        situation(declared={"auto.create.topics.enable": "true", "default.replication.factor": "1"}),
        "auto.create.topics.enable is true, default.replication.factor is 1",
        (situation(), situation(nodes=1, declared={"default.replication.factor": "1", "min.insync.replicas": "1"})),
    ),
}


def applying(at: Situation) -> dict[str, str]:
    return {found.hazard.id: found.evidence for found in hazards.find(at).applying}


def test_every_entry_has_its_pair() -> None:
    assert set(PAIRS) == set(hazards.CATALOGUE)
    assert all(pair.does_not for pair in PAIRS.values())


@pytest.mark.parametrize("name", PAIRS)
def test_it_applies_and_says_what_was_seen(name: str) -> None:
    pair = PAIRS[name]
    assert pair.says in applying(pair.applies)[name]
    assert hazards.find(pair.applies).undecided == ()


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, pair in PAIRS.items() for number in range(len(pair.does_not))]
)
def test_it_does_not_apply(name: str, number: int) -> None:
    assert name not in applying(PAIRS[name].does_not[number])


@pytest.mark.parametrize("name", [name for name, hazard in hazards.CATALOGUE.items() if hazard.needs])
def test_without_what_it_needs_it_is_undecided_and_never_absent(name: str) -> None:
    at = PAIRS[name].applies
    hazard = hazards.CATALOGUE[name]
    for section in hazard.needs:
        match section:
            case Section.KAFKA:
                less = replace(at, observation=replace(at.observation, kafka=None))
            case Section.SPEC:
                less = replace(at, declared=None)
            case _:
                less = replace(at, finalised=None)
        found = hazards.find(less)
        assert name not in applying(less)
        assert section in {entry.hazard.id: entry.missing for entry in found.undecided}[name]


def test_only_what_blocks_can_be_waived_and_is_held_for() -> None:
    assert {"KAFKA-20732", "STALE-REGISTRATION"} == hazards.WAIVABLE
    found = hazards.find(situation(declared=TIERED))
    assert [entry.hazard.id for entry in found.blocking] == ["KAFKA-20732"]
    check = found.blocking[0].check
    assert (check.name, check.ok) == ("Hazard", False)
    assert check.evidence.startswith("KAFKA-20732: ")
    assert check.remedy


def test_an_ordinary_upgrade_is_held_for_nothing() -> None:
    """Or every roll that goes today would stop: 4.2.0 to 4.3.1 with a spec that says nothing unusual."""
    for running, target in (("4.2.0", "4.3.1"), ("4.3.1", "4.2.0"), ("3.9.2", "4.3.1"), ("4.2.0", "4.2.0")):
        for features in ({"metadata.version": 29}, ELR, {"metadata.version": 21, "kraft.version": 1}):
            at = situation(running, target, features=features, isr=(0, 1), finalised=29, level=30)
            assert hazards.find(at).blocking == ()


def test_a_write_of_min_isr_that_the_catalogue_warns_of_is_not_made() -> None:
    """Blocks.CONFIG is a claim about our own rule: the rule has to keep it."""
    at = PAIRS["ELR-MIN-ISR"].applies
    assert hazards.CATALOGUE["ELR-MIN-ISR"].blocks is Blocks.CONFIG
    current = at.observation.kafka.dynamic_config if at.observation.kafka else {}
    assert changes(at.declared or {}, frozenset(), current, replicas_out=True) == {}
    assert changes(at.declared or {}, frozenset(), current, replicas_out=False) != {}


@pytest.mark.parametrize(
    ("affected", "inside", "outside"),
    [
        (Affected(fixed="4.4.0"), ["3.9.2", "4.3.1", "4.3.10"], ["4.4.0", "4.10.0"]),
        (Affected(since="4.2.0", fixed="4.2.1"), ["4.2.0"], ["4.1.2", "4.2.1", "4.10.0"]),
        (Affected(since="3.9.0"), ["3.9.0", "3.10.0", "4.3.1"], ["3.8.1"]),
        (Affected(), ["1.0.0"], []),
    ],
)
def test_versions_are_compared_as_numbers(affected: Affected, inside: list[str], outside: list[str]) -> None:
    assert all(version in affected for version in inside)
    assert not any(version in affected for version in outside)


settings = st.dictionaries(
    st.sampled_from([*TIERED, "min.insync.replicas", "max.connections", "auto.create.topics.enable"]),
    st.sampled_from(["", "0", "1", "-1", "true", "false", "x", " 5 ", "\u0665"]),
)
releases = st.sampled_from(["3.9.2", "4.0.2", "4.1.2", "4.2.0", "4.3.1", "9.9.9", "odd"])
clusters = st.builds(observed, nodes=st.integers(0, 4), dynamic=settings)
situations = st.builds(
    Situation,
    observation=clusters | clusters.map(lambda seen: replace(seen, kafka=None)),
    running=releases,
    target=releases,
    declared=settings | st.none(),
    finalised=st.sampled_from([None, 21, 29, 99]),
    level=st.sampled_from([None, 30, 100]),
)


@given(situations)
def test_whatever_is_declared_finding_never_raises(at: Situation) -> None:
    found = hazards.find(at)
    decided = {entry.hazard.id for entry in found.applying}
    assert not decided & {entry.hazard.id for entry in found.undecided}
    assert all(entry.evidence and "\n" not in entry.evidence for entry in found.applying)


PAGE = Path(__file__).parents[2] / "docs" / "upgrades.md"


def rows_of(page: str) -> dict[str, list[str]]:
    """Rows of the page's table of hazards: id to cells."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows if row[0] in hazards.CATALOGUE}


def misprinted(page: str) -> list[str]:
    """Entries that the page lacks, or shows with other versions or another effect."""
    rows = rows_of(page)
    wrong = [name for name in hazards.CATALOGUE if name not in rows]
    for name, (versions, _, blocks) in rows.items():
        hazard = hazards.CATALOGUE[name]
        said = {Blocks.RESTART: "any restart", Blocks.FINALISATION: "finalisation", Blocks.NOTHING: "nothing"}
        shown = str(hazard.affected).replace("all versions", "all").replace("4.2.0 up to before 4.2.1", "4.2.0")
        if versions != shown or not blocks.startswith(said.get(hazard.blocks, "that setting")):
            wrong.append(name)
    return wrong


def test_the_page_shows_the_catalogue_as_it_is() -> None:
    page = PAGE.read_text()
    assert misprinted(page) == []
    assert misprinted(page.replace("any restart", "nothing")) == ["KAFKA-20732"]
    assert misprinted(page.replace("| KIP-896 |", "| KIP-898 |")) == ["KIP-896"]
