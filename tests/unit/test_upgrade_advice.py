"""`kfleet upgrade advise`: paths through the known versions, features, the point of no return, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support import cli_fleet
from support.canned_api import CannedApi, canned_api
from support.cli_tree import Run, run

from controlplane.cli.render import document
from controlplane.domain import versions
from controlplane.domain.hazards.advice import Advice, advise
from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    PodObservation,
    QuorumObservation,
    Role,
)

NOW = 1_700_000_000.0
BOTH = frozenset({Role.BROKER, Role.CONTROLLER})


def observed(version: str = "4.2.0", level: int = 29, *, dark: bool = False, **dynamic: str) -> ClusterObservation:
    def pod(number: int) -> PodObservation:
        return PodObservation(f"p-{number}", f"u-{number}", "1", "h", version, "127.0.0.1", "a", True, True, False)

    kafka = KafkaObservation(
        as_of=NOW,
        cluster_id="c",
        brokers=tuple(BrokerObservation(number, "a", "h", 9091) for number in range(3)),
        partitions=(),
        features={"metadata.version": level, "kraft.version": 1, "group.version": 1},
        dynamic_config=dynamic,
    )
    nodes = tuple(NodeObservation(number, "nodes", BOTH, pod(number)) for number in range(3))
    return ClusterObservation(
        NOW, "kafka", "cell", nodes, None if dark else QuorumObservation(NOW, 0, 1, ()), None if dark else kafka
    )


PATHS: dict[tuple[str, str, int], list[tuple[str, str, int, int]] | None] = {
    ("4.2.0", "4.3.1", 29): [("4.2.0", "4.3.1", 29, 30)],
    ("3.9.2", "4.3.1", 21): [("3.9.2", "4.3.1", 21, 30)],
    ("3.9.2", "4.3.1", 4): [("3.9.2", "3.9.2", 4, 21), ("3.9.2", "4.3.1", 21, 30)],
    ("3.8.1", "4.3.1", 4): [("3.8.1", "3.9.2", 4, 21), ("3.9.2", "4.3.1", 21, 30)],
    ("4.3.1", "4.2.0", 29): [("4.3.1", "4.2.0", 29, 29)],
    ("4.3.1", "4.2.0", 30): None,
    ("4.3.1", "4.3.1", 29): [("4.3.1", "4.3.1", 29, 30)],
    ("4.3.1", "4.3.1", 30): [],
}


@pytest.mark.parametrize("case", PATHS)
def test_paths(case: tuple[str, str, int]) -> None:
    found = versions.find_path(*case)
    expected = PATHS[case]
    assert (found is None) == (expected is None)
    assert [(hop.start, hop.end, hop.level_before, hop.level_after) for hop in found or ()] == (expected or [])


def test_a_pin_holds_what_is_finalised() -> None:
    (hop,) = versions.find_path("4.1.2", "4.3.1", 27, pin=29) or ()
    assert (hop.level_after, hop.no_return) == (29, False)


def faults(running: str, level: int, path: tuple[versions.Hop, ...]) -> list[str]:
    """What is wrong with a path, by the rules for one roll alone."""
    found = [
        f"{hop} is refused" for hop in path if not versions.can_roll_binary(hop.start, hop.end, hop.level_before).ok
    ]
    found += [f"{hop} lowers a level" for hop in path if hop.level_after < hop.level_before]
    found += [f"{one} and {two} do not meet" for one, two in pairwise(path) if one.end != two.start]
    found += [f"{one} and {two} differ" for one, two in pairwise(path) if one.level_after != two.level_before]
    for hop in path:
        if hop.level_after > max(versions.release(hop.end).metadata_level, hop.level_before):
            found.append(f"{hop} raises beyond its binaries")
    if path and (path[0].start, path[0].level_before) != (running, level):
        found.append("it begins elsewhere")
    return found


known = st.sampled_from(versions.known_versions())


@given(known | st.just("3.8.1"), known, st.integers(1, 30))
def test_every_hop_of_a_path_is_allowed_by_itself_and_direct_is_shortest(running: str, target: str, level: int) -> None:
    limits = {"3.8.1": (1, 20)} | {
        version: (versions.release(version).minimum_level, versions.release(version).metadata_level)
        for version in versions.known_versions()
    }
    assume(limits[running][0] <= level <= limits[running][1])  # or it would not run
    path = versions.find_path(running, target, level)
    if path is None:
        assert not versions.can_roll_binary(running, target, level).ok
        return
    assert faults(running, level, path) == []
    if running != target:
        assert path[-1].end == target
    if running != target and versions.can_roll_binary(running, target, level).ok:
        assert len(path) == 1


def test_a_planted_path_is_found_wrong() -> None:
    assert faults("4.3.1", 30, (versions.Hop("4.3.1", "4.2.0", 30, 30),))
    assert faults("4.2.0", 29, (versions.Hop("4.2.0", "4.3.1", 29, 33),))
    assert faults("4.2.0", 29, (versions.Hop("4.1.2", "4.3.1", 29, 30),))
    assert faults("3.9.2", 21, (versions.Hop("3.9.2", "4.2.0", 21, 29), versions.Hop("4.1.2", "4.3.1", 29, 30)))


def test_only_metadata_version_changes_and_what_could_be_had_is_said() -> None:
    advice = advise(observed(), "4.3.1", declared={})
    rows = {feature.name: (feature.now, feature.after, feature.highest) for feature in advice.features}
    assert rows == {
        "metadata.version": (29, 30, 30),
        "eligible.leader.replicas.version": (0, 0, 1),
        "group.version": (1, 1, None),
        "kraft.version": (1, 1, 1),
        "share.version": (0, 0, 1),
        "streams.version": (0, 0, 1),
    }
    assert (advice.no_return, advice.clear) == ("4.3-IV0", True)
    assert "POINT-OF-NO-RETURN" in {found.hazard.id for found in advice.findings.applying}


def test_nothing_is_the_point_of_no_return_within_one_format() -> None:
    advice = advise(observed("4.1.2", 27), "4.2.0", declared={})
    assert (advice.no_return, advice.clear, advice.clients_cut) == (None, True, False)
    assert advise(observed("3.9.2", 21), "4.0.2", declared={}).clients_cut


def test_what_blocks_is_not_clear() -> None:
    tiered = {"remote.log.storage.system.enable": "true", "log.retention.bytes": "5"}
    assert not advise(observed(), "4.3.1", declared=tiered).clear
    assert not advise(observed("4.3.1", 30), "4.2.0", declared={}).clear
    assert not advise(observed(), "4.2.0", declared={}, pin="4.3-IV0").clear


def test_a_dark_cluster_is_not_guessed_about() -> None:
    advice = advise(observed(dark=True), "4.3.1", declared={})
    assert (advice.path, advice.level, advice.clear) == (None, None, False)
    assert [check.name for check in advice.refused] == ["ClusterUnreachable"]
    assert advise(observed(dark=True), "4.3.1", declared={}, level=29).path is not None
    empty = replace(observed(dark=True), nodes=())
    with pytest.raises(ValueError, match="no node runs"):
        advise(empty, "4.3.1")


def test_a_way_round_is_no_refusal() -> None:
    advice = advise(observed("3.9.2", 4), "4.3.1", declared={})
    assert (len(advice.path or ()), advice.refused) == (2, ())


def test_half_way_through_a_roll_the_oldest_version_counts() -> None:
    seen = observed()
    first = seen.nodes[0]
    assert first.pod is not None
    mixed = replace(seen, nodes=(replace(first, pod=replace(first.pod, version="4.3.1")), *seen.nodes[1:]))
    advice: Advice = advise(mixed, "4.3.1", declared={})
    assert advice.running == ("4.2.0", "4.3.1")
    assert advice.path is not None
    assert advice.path[0].start == "4.2.0"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedApi]:
    with canned_api(tmp_path_factory.mktemp("api"), cli_fleet.objects()) as running:
        yield running


def kfleet(api: CannedApi, *arguments: str) -> Run:
    return run(["upgrade", "advise", *arguments], {"KUBECONFIG": str(api.kubeconfig)})


def snapshot(folder: Path, observation: ClusterObservation) -> str:
    file = folder / "cell.json"
    file.write_text(document("ClusterSnapshot", observation.to_json()))
    return str(file)


def test_a_snapshot_asks_nobody(api: CannedApi, tmp_path: Path) -> None:
    api.requests.clear()
    done = kfleet(api, "cell", "--to", "4.3.1", "--snapshot", snapshot(tmp_path, observed()), "-o", "json")
    assert (done.code, done.stderr, api.requests) == (0, "", [])
    found: dict[str, Any] = json.loads(done.stdout)
    assert [entry["id"] for entry in found["undecided"]] == [
        "KAFKA-20732",
        "ELR-MIN-ISR",
        "MAX-CONNECTIONS-ZERO",
        "WEAK-DEFAULTS",
    ]
    assert all(entry["needs"] == ["Spec"] for entry in found["undecided"])
    assert found["clients"]["seen"] is None


def test_text_says_what_stands_in_the_way(api: CannedApi, tmp_path: Path) -> None:
    back = kfleet(api, "cell", "--to", "4.2.0", "--snapshot", snapshot(tmp_path, observed("4.3.1", 30)))
    assert back.code == 3
    assert "VersionChangeRefused: spec.version: 4.3.1 to 4.2.0 is refused" in back.stdout
    old = kfleet(api, "cell", "--to", "4.3.1", "--snapshot", snapshot(tmp_path, observed("3.9.2", 21)))
    assert old.code == 0
    assert "1. roll 3.9.2 to 4.3.1, then finalise 4.3-IV0 (no way back after that)" in old.stdout
    assert "versions in use: not reported by brokers" in old.stdout
    assert "librdkafka 1.8.2" in old.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["calm", "--to", "9.9.9"], 2, "--to: Kafka '9.9.9' is not known"),
        (["nobody", "--to", "4.3.1"], 1, "no KafkaCluster nobody"),
        (["calm"], 2, "--to"),
        (["cell", "--to", "4.3.1", "--snapshot", "nowhere.json"], 1, "nowhere.json: No such file"),
    ],
)
def test_wrong_questions(api: CannedApi, arguments: list[str], code: int, says: str) -> None:
    done = kfleet(api, *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert says in done.stderr.splitlines()[-1]


def test_a_file_that_is_no_snapshot_or_of_another_cluster(api: CannedApi, tmp_path: Path) -> None:
    file = snapshot(tmp_path, observed())
    other = kfleet(api, "orders", "--to", "4.3.1", "--snapshot", file)
    assert (other.code, "is a snapshot of kafka/cell, not of orders" in other.stderr) == (1, True)
    for text in ("not json", "[]", '{"kind": "ClusterSnapshot"}'):
        Path(file).write_text(text)
        bad = kfleet(api, "cell", "--to", "4.3.1", "--snapshot", file)
        assert (bad.code, "not a snapshot: write one with" in bad.stderr) == (1, True), text
