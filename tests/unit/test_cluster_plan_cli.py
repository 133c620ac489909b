"""`kfleet cluster plan`: what-if against an API server, and for a snapshot that nobody else has to know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import cli_fleet
from support.batch_layouts import Layout, table, with_table
from support.canned_api import CannedApi, canned_api
from support.cli_tree import run
from support.evidence import EVIDENCE, ROOT, problems
from support.simulation import SETTINGS, created

from controlplane.domain import hazards
from controlplane.services.cluster.kind import placement
from controlplane.services.cluster.plan import ClusterPlan, WhatIf, cluster_plan


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedApi]:
    with canned_api(tmp_path_factory.mktemp("api"), cli_fleet.objects()) as running:
        yield running


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("snapshot") / "paper.json"
    observed = Layout(4, 300, "rack-aware").observe(1).to_json()
    file.write_text(json.dumps({"apiVersion": "cli.kfleet.dev/v1", "kind": "ClusterSnapshot"} | observed))
    return file


def test_a_snapshot_is_planned_in_batches_with_their_bound(snapshot: Path) -> None:
    done = run(["cluster", "plan", "paper", "--snapshot", str(snapshot), "--what-if", "maxUnavailable=50%"], {})
    assert (done.code, done.stderr) == (3, "")
    assert "3 batches; there is no plan with fewer" in done.stdout
    assert "RestartBatch 4 nodes of rack a: 0, 3, 6, 9 (disruptive)" in done.stdout
    one = run(["cluster", "plan", "paper", "--snapshot", str(snapshot), "-o", "json"], {})
    batches = json.loads(one.stdout)["batches"]
    assert (batches["number"], batches["lowerBound"], batches["exact"]) == (12, 12, True)


def test_a_snapshot_asked_about_another_version_leaves_out_who_runs_it(snapshot: Path) -> None:
    line = ["cluster", "plan", "paper", "--snapshot", str(snapshot), "-o", "json", "--what-if"]
    other = json.loads(run([*line, "version=4.3.1"], {}).stdout)
    assert other["plan"]["goal"] == "Version 4.3.1"
    assert {step["why"] for step in other["plan"]["steps"]} == {"VersionChanged"}
    same = run([*line, "version=4.2.0"], {})
    assert same.code == 0
    assert json.loads(same.stdout)["plan"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--what-if", "versoin=4.3.1"], "one of version=..., maxUnavailable=..., unprotectedPartitions=..."),
        (["--what-if", "version=latest"], "a Kafka version has three numbers"),
        (["--what-if", "maxUnavailable=0"], "must be at least 1, or a percentage such as 25%"),
        (["--what-if", "maxUnavailable=200%"], "'200%' is neither a number nor a percentage"),
        (["--what-if", "maxUnavailable=--5"], "'--5' is neither a number nor a percentage"),
        (["--what-if", "maxUnavailable=-5"], "must be at least 1, or a percentage such as 25%"),
        (["--what-if", "maxUnavailable=" + "9" * 5000], "is neither a number nor a percentage"),
        (["--what-if", "unprotectedPartitions=Maybe"], "one of Block, Accept"),
        (["--what-if", "version=9.9.9"], "9.9.9"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error_in_one_line(snapshot: Path, arguments: list[str], words: str) -> None:
    done = run(["cluster", "plan", "paper", "--snapshot", str(snapshot), *arguments], {})
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_snapshot_of_another_cluster_ends_both_commands_alike(snapshot: Path) -> None:
    for command in (["cluster", "plan", "other"], ["upgrade", "advise", "other", "--to", "4.3.1"]):
        done = run([*command, "--snapshot", str(snapshot)], {})
        assert (done.code, done.stdout) == (1, ""), command
        assert done.stderr.endswith("a snapshot of kafka/paper, not of other\n")


def test_a_file_that_is_no_snapshot_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text in ("{", "[1]", '{"nodes": 1}'):
        file.write_text(text)
        done = run(["cluster", "plan", "paper", "--snapshot", str(file)], {})
        assert done.code == 1
        assert done.stderr.endswith("not a snapshot: write one with `kfleet cluster snapshot NAME -f FILE`\n")
    assert run(["cluster", "plan", "paper", "--snapshot", str(tmp_path / "gone")], {}).code == 1


def test_what_if_reaches_the_spec_of_a_live_cluster(api: CannedApi) -> None:
    env = {"KUBECONFIG": str(api.kubeconfig)}
    line = ["cluster", "plan", "calm", "-o", "json"]
    plain = json.loads(run(line, env).stdout)
    asked = json.loads(run([*line, "--what-if", "version=9.9.9"], env).stdout)
    assert (plain["refused"], [check["name"] for check in asked["refused"]]) == ([], ["UnknownVersion"])
    assert "batches" not in plain, "one node at a time: the document is as it was"
    assert json.loads(run(line, env).stdout) == plain


async def test_what_if_changes_the_goal_the_hash_and_the_batches_and_nothing_in_the_world() -> None:
    namespace = await created()
    before = json.dumps([(key, obj) for key, obj in namespace.kube.objects.items()], default=str)

    async def planned(what_if: WhatIf) -> ClusterPlan:
        return await cluster_plan(
            namespace.kube,
            namespace.admins,
            namespace.clock,
            placement(SETTINGS),
            namespace="kafka",
            name="cell",
            what_if=what_if,
        )

    assert (await planned(WhatIf())).plan is None
    newer = (await planned(WhatIf(version="4.3.1"))).plan
    limited = await planned(WhatIf(version="4.3.1", max_unavailable="100%"))
    assert newer
    assert limited.plan
    assert newer.goal == limited.plan.goal == "Version 4.2.0 to 4.3.1"
    assert newer.hash != limited.plan.hash
    assert limited.batches
    assert sorted(limited.batches.batches) == [(0,), (1,), (2,)], "combined nodes go alone"
    assert json.dumps([(key, obj) for key, obj in namespace.kube.objects.items()], default=str) == before


async def test_a_closed_window_and_a_hazard_are_said_to_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = await created()
    planted = hazards.Hazard(
        "TEST-1", "t", "s", hazards.Affected(), hazards.Blocks.RESTART, lambda at: f"seen at {at.target}", "Mend it."
    )
    monkeypatch.setitem(hazards.CATALOGUE, "TEST-1", planted)

    async def planned() -> ClusterPlan:
        what_if = WhatIf(version="4.3.1")
        around = (namespace.kube, namespace.admins, namespace.clock, placement(SETTINGS))
        return await cluster_plan(*around, namespace="kafka", name="cell", what_if=what_if)

    free = (await planned()).plan
    await namespace.change(maintenanceWindows=[{"schedule": "0 4 29 2 *", "duration": "1h"}])
    found = await planned()
    assert [check.name for check in found.blocked] == ["OutsideWindow", "Hazard"]
    assert "opens at 2024-02-29T04:00:00Z" in found.blocked[0].evidence
    assert "which was not looked at" in found.blocked[0].remedy
    assert found.plan == free, "the plan is the same, and so is its hash"
    monkeypatch.delitem(hazards.CATALOGUE, "TEST-1")
    await namespace.change(maintenanceWindows=[{"schedule": "* * * * *", "duration": "1h"}])
    assert (await planned()).blocked == ()


def test_the_page_has_the_table_of_its_record() -> None:
    record = json.loads((EVIDENCE / "bench-batches.json").read_text())
    assert problems(record) == []
    page = (ROOT / "docs" / "rolling.md").read_text()
    assert page == with_table(page, record), "run: make bench-batches"
    planted = json.loads(json.dumps(record))
    planted["outcomes"]["rows"][0]["batches"] += 7
    planted["outcomes"]["rows"][1]["batches"] += 7
    assert page != with_table(page, planted)
    assert table(record) in page
