"""What `kfleet tenant` shows: who is where, and what a fresh assignment would do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import cli_fleet
from support.canned_api import CannedApi, canned_api
from support.cli_tree import Run, problems_of_error, run

from controlplane.api import names

ZONES = "aaabbbccc"


def claim(node: int) -> dict[str, Any]:
    labels = {
        names.CLUSTER: "orders",
        names.POOL: "nodes",
        names.NODE_ID: str(node),
        names.ZONE: ZONES[node],
        names.ROLE_BROKER: "true",
    }
    return {"metadata": {"name": f"data-{node}", "namespace": "kafka", "uid": f"uid-{node}", "labels": labels}}


def cluster() -> dict[str, Any]:
    found = cli_fleet.cluster("orders")
    found["spec"]["nodePools"][0]["replicas"] = len(ZONES)
    return found


@pytest.fixture
def api(tmp_path: Path) -> Iterator[CannedApi]:
    """Nine brokers in three zones; two tenants share two of them, a third one moves."""
    objects = cli_fleet.objects([cluster()]) | {"PersistentVolumeClaim": [claim(node) for node in range(len(ZONES))]}
    objects["KafkaTenant"] = [
        cli_fleet.tenant("a", (0, 3, 6), overlap=2),
        cli_fleet.tenant("b", (0, 3, 7), overlap=2),
        cli_fleet.tenant("c", (1, 2, 4, 5, 8), target=[2, 5, 8], rebalance="tenant-c-1", reason="Moving", placed=False),
    ]
    objects["KafkaTenant"][2]["spec"]["shard"]["size"] = 3
    with canned_api(tmp_path, objects) as running:
        yield running


def kfleet(api: CannedApi, *arguments: str) -> Run:
    return run(["tenant", *arguments], {"KUBECONFIG": str(api.kubeconfig)})


def test_a_list_shows_shards_and_what_they_become(api: CannedApi) -> None:
    lines = kfleet(api, "list", "-o", "wide").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "a", "b", "c"]
    assert "orders:0,3,6" in lines[1]
    assert "orders:2,5,8" in lines[3]
    assert kfleet(api, "list", "-o", "name").stdout.splitlines()[0] == "kafkatenant.kfleet.dev/a"


def test_a_description_has_cells_and_limits(api: CannedApi) -> None:
    text = kfleet(api, "describe", "c").stdout
    assert "Shard:" in text
    assert "1-2,4-5,8" in text
    assert "topics    12     200" in text
    assert "storage   3Gi    2Ti" in text
    assert problems_of_error(kfleet(api, "describe", "d"), 1, "no KafkaTenant d; there are a, b, c") == []


@pytest.mark.parametrize("cell", ["orders", "kafka/orders"])
def test_a_repack_shows_what_it_would_move_and_how_to_have_it(api: CannedApi, cell: str) -> None:
    done = kfleet(api, "repack", cell, "-o", "json")
    (offer,) = json.loads(done.stdout)["offers"]
    assert (offer["tenants"], offer["worstNow"], offer["worstThen"], offer["better"]) == (3, 2, 0, True)
    assert sum(set(move["now"]) != set(move["then"]) for move in offer["moves"]) == len(offer["moves"]) > 0
    text = kfleet(api, "repack", cell).stdout
    assert "3 tenants with 3 brokers, 1 shared at most: now 2, afresh 0" in text
    first = offer["moves"][0]
    wanted = ",".join(map(str, first["then"]))
    assert f"kubectl annotate --overwrite kften {first['tenant']} kfleet.dev/shard={wanted}" in text
    assert {method for method, _, _ in api.requests} == {"GET"}, "nothing is changed"


def test_a_repack_that_gains_nothing_says_so(api: CannedApi) -> None:
    api.objects["KafkaTenant"] = [cli_fleet.tenant("a", (0, 3, 6)), cli_fleet.tenant("b", (1, 4, 7))]
    assert "Nothing is gained by moving." in kfleet(api, "repack", "orders").stdout
    api.objects["KafkaTenant"] = []
    assert kfleet(api, "repack", "orders").stdout == "no tenant has a shard of kafka/orders\n"


def test_what_is_wrong_with_a_repack_is_one_line(api: CannedApi) -> None:
    assert problems_of_error(kfleet(api, "repack", "order"), 1, "no KafkaCluster order in namespace kafka") == []
    mixed = kfleet(api, "repack", "kafka/orders", "-n", "finance")
    assert problems_of_error(mixed, 1, "--namespace says finance") == []
    api.objects["PersistentVolumeClaim"] = []
    assert problems_of_error(kfleet(api, "repack", "orders"), 1, "KafkaCluster orders has no broker yet") == []
