"""What scripts rely on: the JSON of every command that offers it, byte for byte, and the other formats beside it.

A golden that changes is a change of the contract: fields may be added; anything else takes a new JSON_VERSION.
KFLEET_UPDATE_GOLDENS=1 writes them anew.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support import cli_fleet, cli_tree
from support.canned_api import CannedApi, canned_api
from support.cli_tree import Leaf, Run, problems_of_error, run

from controlplane.cli.render import JSON_VERSION
from controlplane.domain.observation import ClusterObservation

GOLDENS = Path(__file__).parent / "cli"
EXAMPLES = Path(__file__).parents[2] / "examples"

COMMANDS: dict[str, tuple[int, list[str]]] = {
    "status": (3, ["status", "-o", "json"]),
    "cluster-list": (0, ["cluster", "get", "-A", "-o", "json"]),
    "cluster-get": (0, ["cluster", "get", "orders", "-o", "json"]),
    "cluster-describe": (0, ["cluster", "describe", "orders", "-o", "json"]),
    "cluster-health": (0, ["cluster", "health", "orders", "-o", "json"]),
    "cluster-health-bad": (3, ["cluster", "health", "full", "-o", "json"]),
    "cluster-plan": (3, ["cluster", "plan", "calm", "-o", "json"]),
    "upgrade-advise": (0, ["upgrade", "advise", "calm", "--to", "4.3.1", "-o", "json"]),
    "cluster-snapshot": (0, ["cluster", "snapshot", "calm"]),
    "op-list": (0, ["op", "list", "-A", "-o", "json"]),
    "op-show": (0, ["op", "show", "orders", "-o", "json"]),
    "pending": (0, ["pending", "-A", "-o", "json"]),
    "placement-simulate": (
        0,
        ["placement", "simulate", "--zones", "3", "--brokers-per-zone", "2", "--tenants", "4", "-o", "json"],
    ),
    "tenant-list": (0, ["tenant", "list", "-o", "json"]),
    "tenant-describe": (0, ["tenant", "describe", "checkout", "-o", "json"]),
    "user-describe": (0, ["user", "describe", "app", "-o", "json"]),
    "explain": (0, ["explain", "Paused", "-o", "json"]),
    "rebalance-plan": (
        0,
        [
            *("rebalance", "plan", "--goal", "balance", "-o", "json"),
            *("--assignment", str(EXAMPLES / "rebalance" / "assignment.json")),
            *("--brokers", str(EXAMPLES / "rebalance" / "brokers.json")),
            *("--sizes", str(EXAMPLES / "rebalance" / "sizes.json")),
        ],
    ),
}
"""Golden's name to exit code and command line."""

ELSEWHERE = {
    "op watch": "tests/integration/test_op_cli.py: it prints the operation's end",
    "tenant repack": "tests/unit/test_tenant_cli.py: it needs volumes",
    "user test": "tests/e2e/test_users.py: it logs in",
    "approve": "tests/integration/test_approvals.py: it prints what it creates",
    "deny": "tests/integration/test_approvals.py",
    "audit list": "tests/unit/test_ledger_cli.py: it asks a database",
    "audit show": "tests/unit/test_ledger_cli.py",
    "sandbox status": "tests/integration/test_sandbox_lifecycle.py: it asks processes",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedApi]:
    with canned_api(tmp_path_factory.mktemp("api"), cli_fleet.objects()) as running:
        outlives_the_module = datetime.now(UTC) + timedelta(hours=1)
        running.objects["Lease"] = [cli_fleet.lease(renewed=outlives_the_module)]
        yield running


def kfleet(api: CannedApi, *arguments: str) -> Run:
    return run(arguments, {"KUBECONFIG": str(api.kubeconfig)})


def steady(text: str) -> str:
    """Without what differs from run to run: the time of an observation."""
    document = json.loads(text)
    if "as_of" in document:
        document["as_of"] = 0.0
    return json.dumps(document, indent=2) + "\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_json_is_as_it_was(name: str, api: CannedApi) -> None:
    code, arguments = COMMANDS[name]
    done = kfleet(api, *arguments)
    assert done.code == code, done.stderr
    document = json.loads(done.stdout)
    assert document["apiVersion"] == JSON_VERSION
    assert document["kind"][0].isupper()
    golden = GOLDENS / f"{name}.json"
    if os.environ.get("KFLEET_UPDATE_GOLDENS"):
        golden.write_text(steady(done.stdout))
    assert steady(done.stdout) == golden.read_text(), f"{name}: the JSON that scripts read has changed"


def test_every_command_that_offers_json_is_held_to_it() -> None:
    covered = {" ".join(word for word in line if not word.startswith("-")) for _, line in COMMANDS.values()}
    missing = [
        " ".join(leaf.words)
        for leaf in cli_tree.leaves()
        if leaf.offers_json
        and " ".join(leaf.words) not in ELSEWHERE
        and not any(f"{line} ".startswith(" ".join(leaf.words) + " ") for line in covered)
    ]
    assert missing == []


def test_a_golden_that_nothing_prints_is_found() -> None:
    assert {path.stem for path in GOLDENS.glob("*.json")} == set(COMMANDS)


def test_a_changed_field_is_found(api: CannedApi) -> None:
    """The comparison is not blind: a renamed field and a missing one both differ."""
    golden = (GOLDENS / "cluster-get.json").read_text()
    document = json.loads(golden)
    without = {key: value for key, value in document.items() if key != "state"}
    assert steady(json.dumps(without)) != golden
    assert steady(json.dumps(document | {"stat": document["state"]})) != golden
    assert steady(json.dumps(document)) == golden


@pytest.mark.parametrize("name", [name for name, (_, line) in COMMANDS.items() if "-o" in line])
def test_yaml_says_the_same_as_json(name: str, api: CannedApi) -> None:
    _, arguments = COMMANDS[name]
    other = kfleet(api, *[word if word != "json" else "yaml" for word in arguments])
    assert yaml.safe_load(other.stdout) == json.loads(kfleet(api, *arguments).stdout)


@pytest.mark.parametrize("name", [name for name, (_, line) in COMMANDS.items() if "-o" in line])
def test_names_and_tables_have_no_colour_and_no_trailing_blanks(name: str, api: CannedApi) -> None:
    code, arguments = COMMANDS[name]
    for output in ("table", "wide", "name"):
        done = kfleet(api, *[word if word != "json" else output for word in arguments])
        assert done.code == code
        assert "\x1b" not in done.stdout + done.stderr
        assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []


def test_names_can_be_given_to_kubectl(api: CannedApi) -> None:
    done = kfleet(api, "cluster", "get", "-o", "name")
    assert "kafkacluster.kfleet.dev/orders" in done.stdout.splitlines()


def test_a_snapshot_is_an_observation(api: CannedApi) -> None:
    done = kfleet(api, "cluster", "snapshot", "calm")
    read = ClusterObservation.from_json(json.loads(done.stdout))
    assert (read.namespace, read.name, read.kafka) == ("kafka", "calm", None)
    assert done.stderr == "kfleet: kafka is null: no broker's pod is ready, so none was asked\n"


def test_a_snapshot_in_a_file_is_whole_or_not_there(api: CannedApi, tmp_path: Path) -> None:
    file = tmp_path / "calm.json"
    done = kfleet(api, "cluster", "snapshot", "calm", "-f", str(file))
    assert (done.code, done.stdout) == (0, "")
    assert json.loads(file.read_text())["kind"] == "ClusterSnapshot"
    nowhere = kfleet(api, "cluster", "snapshot", "calm", "-f", str(tmp_path / "gone" / "calm.json"))
    assert nowhere.code == 1
    assert nowhere.stderr.splitlines()[-1].endswith("No such file or directory")
    assert [path.name for path in tmp_path.iterdir()] == ["calm.json"]


def test_the_fleet_comes_worst_first_with_what_to_type(api: CannedApi) -> None:
    done = kfleet(api, "status")
    states = [line.split()[1] for line in done.stdout.splitlines()[1:]]
    expected = (
        "Unavailable Degraded Unreported Blocked AwaitingApproval Paused Deleting Forming Applying Rolling Healthy"
    )
    assert states == expected.split()
    assert "11 clusters: 1 Unavailable" in done.stderr
    assert "next: kfleet cluster health dark -n kafka" in done.stderr
    assert "next: kfleet approve roll-2-abc -n finance" in done.stderr


def test_a_healthy_fleet_ends_with_0_and_a_dead_operator_with_3(tmp_path: Path) -> None:
    with canned_api(tmp_path, cli_fleet.objects([cli_fleet.cluster("calm"), cli_fleet.rolling()])) as api:
        assert kfleet(api, "status").code == 0
        renewed = datetime.now(UTC) - timedelta(hours=2)
        api.objects["Lease"] = [cli_fleet.lease(renewed=renewed)]
        dead = kfleet(api, "status")
        assert dead.code == 3
        said = re.search(r"operator: kfleet-operator-1 renewed Lease kfleet/kfleet-operator (\d+) s ago", dead.stderr)
        assert said, dead.stderr
        assert 7200 <= int(said[1]) <= (datetime.now(UTC) - renewed).total_seconds() + 0.5
        api.objects["Lease"] = []
        assert "operator: Nobody holds Lease kfleet/kfleet-operator" in kfleet(api, "status").stderr
        api.objects["KafkaCluster"] = []
        api.objects["Lease"] = [cli_fleet.lease()]
        none = kfleet(api, "status")
        assert (none.code, none.stdout) == (0, "")
        assert "no clusters" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cluster", "describe", "order"], "no KafkaCluster order in namespace kafka; did you mean orders"),
        (
            ["cluster", "health", "zzz"],
            "no KafkaCluster zzz in namespace kafka; there are calm, dark, full, held, mute",
        ),
        (["cluster", "plan", "orders", "-n", "empty"], "no KafkaCluster orders in namespace empty; there are none"),
        (["cluster", "snapshot", "mutt"], "did you mean mute?"),
        (["cluster", "reconcile", "orderz"], "did you mean orders"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(api: CannedApi, arguments: list[str], says: str) -> None:
    assert problems_of_error(kfleet(api, *arguments), 1, says) == []


def changing() -> list[Leaf]:
    return [leaf for leaf in cli_tree.leaves() if leaf.asks_kubernetes and "--yes" in leaf.options]


@pytest.mark.parametrize("leaf", changing(), ids=lambda leaf: " ".join(leaf.words))
def test_without_a_terminal_a_change_takes_yes(leaf: Leaf, api: CannedApi) -> None:
    """Nobody can answer, so nothing is asked, and nothing is sent. (`cluster reconcile` changes nothing by itself.)"""
    api.requests.clear()
    local = ["--local"] if leaf.words == ("cluster", "reconcile") else []
    operation = {"cluster": "ledger", "user": "payments"}.get(leaf.words[0], "roll-2-abc")
    done = kfleet(
        api,
        *leaf.words,
        *leaf.arguments({"operation": operation, "target": operation, "name": operation}),
        "-n",
        "finance",
        *local,
    )
    assert done.code == 2, done.stderr
    assert done.stdout == ""
    assert "--yes" in done.stderr.splitlines()[-1]
    sent = [(method, path) for method, path, _ in api.requests if method != "GET" and "selfsubject" not in path]
    assert sent == []


def test_a_cluster_of_another_time_is_shown_and_named(tmp_path: Path) -> None:
    """A status that this version cannot read is told as such; the rest of the fleet is shown."""
    odd: dict[str, Any] = cli_fleet.cluster("odd", nodes=[{"id": "one"}])
    with canned_api(tmp_path, cli_fleet.objects([odd, cli_fleet.cluster("calm")])) as api:
        done = kfleet(api, "status")
        assert done.code == 3
        assert "its status cannot be read by this version of kfleet: nodes[0].id" in done.stdout
        assert "calm" in done.stdout
        bad = cli_fleet.cluster("bad")
        bad["spec"]["nodePools"][0]["replicas"] = "three"
        api.objects["KafkaCluster"] = [bad]
        assert problems_of_error(kfleet(api, "cluster", "plan", "bad"), 1, "spec.nodePools[0].replicas") == []


def test_a_watch_says_what_changes_and_outlives_an_api_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ill, then the API server is away, then well: the watch ends by itself, and says each once."""
    from controlplane.cli import cluster_health

    monkeypatch.setattr(cluster_health, "WATCH_SECONDS", 0.05)
    ill = cli_fleet.cluster("x", nodes=[cli_fleet.node(0, ready=False, state="Starting")])
    with canned_api(tmp_path, cli_fleet.objects([ill])) as api:
        looks = 0

        def answered(path: str) -> None:
            nonlocal looks
            looks += path.endswith("/kafkaclusters/x")
            api.refuse = (503, {"reason": "ServiceUnavailable", "message": "etcd is away"}) if looks == 3 else None
            if looks == 6:
                api.objects["KafkaCluster"] = [cli_fleet.cluster("x")]

        api.before = answered
        done = kfleet(api, "cluster", "health", "x", "--exit-when-healthy", "--timeout", "60")
    assert done.code == 0, done.stderr
    assert done.stdout.count("FAIL  NodesRunning") == 1
    assert done.stdout.count("ok    NodesRunning") == 1
    assert done.stdout.count("OperatorAlive") == 1
    assert done.stderr.count("etcd is away; trying again") == 1


@pytest.mark.timeout(60)
def test_a_watch_ends_in_time_while_the_api_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that each look moves on: a busy machine's would be over before the second one."""
    from controlplane.cli import cluster_health

    looks = 0
    clock = SimpleNamespace(monotonic=lambda: looks * 0.3, time=time.time, strftime=time.strftime)
    monkeypatch.setattr(cluster_health, "time", clock)
    monkeypatch.setattr(cluster_health, "WATCH_SECONDS", 0.05)
    ill = cli_fleet.cluster("x", nodes=[cli_fleet.node(0, ready=False, state="Starting")])
    with canned_api(tmp_path, cli_fleet.objects([ill])) as api:

        def answered(path: str) -> None:
            nonlocal looks
            looks += path.endswith("/kafkaclusters/x")
            api.refuse = (503, {"reason": "ServiceUnavailable", "message": "etcd is away"}) if looks >= 2 else None

        api.before = answered
        done = kfleet(api, "cluster", "health", "x", "--exit-when-healthy", "--timeout", "1")
    assert done.code == 3, done.stderr
    assert "etcd is away; trying again" in done.stderr
    assert done.stdout.count("FAIL  NodesRunning") == 1


def test_a_first_look_does_not_wait_for_an_api_server_that_is_away(api: CannedApi) -> None:
    api.refuse = (503, {"reason": "ServiceUnavailable", "message": "etcd is away"})
    try:
        done = kfleet(api, "cluster", "health", "calm", "--exit-when-healthy")
    finally:
        api.refuse = None
    assert problems_of_error(done, 1, "etcd is away") == []


def test_a_watch_that_is_over_before_all_is_well_ends_with_3(api: CannedApi) -> None:
    done = kfleet(api, "cluster", "health", "full", "--exit-when-healthy", "--timeout", "0")
    assert done.code == 3
