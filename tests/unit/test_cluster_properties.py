"""server.properties: nothing a user writes starts a second line or replaces what the operator owns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties_file import read_properties

from controlplane.domain.cluster import dynamic
from controlplane.domain.cluster.properties import Listener, NodeProperties, defaults, escape, render


def node(**change: object) -> NodeProperties:
    values: dict[str, object] = {
        "node_id": 3,
        "controller": False,
        "broker": True,
        "rack": "b",
        "volumes": [0, 1],
        "listeners": [Listener("clients", 9092)],
        "static_config": defaults(3),
        "min_isr": "2",
    }
    return NodeProperties(**(values | change))  # type: ignore[arg-type]


def test_a_broker() -> None:
    read = read_properties(render(node()))
    assert read["process.roles"] == "broker"
    assert read["listeners"] == ("REPLICATION://${env:KFLEET_NODE_HOST}:9091,CLIENTS://${env:KFLEET_NODE_HOST}:9092")
    assert read["broker.rack"] == "b"
    assert read["log.dirs"].split(",")[1] == "${env:KFLEET_POD_ROOT}/var/lib/kafka/data-1"
    assert (read["replica.fetch.backoff.ms"], read["replica.fetch.wait.max.ms"]) == ("50", "100")
    assert (read["broker.heartbeat.interval.ms"], read["broker.session.timeout.ms"]) == ("500", "4500")
    assert "min.insync.replicas" not in read, "with ELR a broker's own min ISR is refused"


def test_a_controller_carries_min_isr_for_the_cluster_it_creates() -> None:
    read = read_properties(render(node(controller=True, broker=False)))
    assert read["process.roles"] == "controller"
    assert read["min.insync.replicas"] == "2"
    assert read["listeners"] == "CONTROLLER://${env:KFLEET_NODE_HOST}:9090"


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=5))
def test_whatever_is_declared_is_read_back_as_it_is_and_owned_keys_stay_ours(config: dict[str, str]) -> None:
    config = {key: value for key, value in config.items() if "\x00" not in key + value}
    hostile = config | {"node.id": "99", "x": "1\nnode.id=98\rprocess.roles=controller"}
    read = read_properties(render(node(static_config=hostile)))
    assert read["node.id"] == "3"
    assert read["process.roles"] == "broker"
    owned = read_properties(render(node(static_config={}))).keys()
    assert {key: value for key, value in read.items() if key not in owned} == {
        key: value for key, value in hostile.items() if key not in owned
    }


@pytest.mark.parametrize("text", ["a\nb", "a\rb", " lead", "back\\slash", "tab\t"])
def test_escape_is_one_line(text: str) -> None:
    assert "\n" not in escape(text)
    assert "\r" not in escape(text)


def test_dynamic_changes_only_what_differs_and_reset_only_what_we_set() -> None:
    current = {
        "log.retention.ms": "1000",
        "max.connections": "10",
        "message.max.bytes": "5",
        "min.insync.replicas": "2",
    }
    changes = dynamic.changes(
        {"log.retention.ms": "2000", "message.max.bytes": "5"},
        frozenset({"max.connections", "min.insync.replicas"}),
        current,
        replicas_out=False,
    )
    assert changes == {"log.retention.ms": "2000", "max.connections": None}


def test_min_isr_is_not_written_while_replicas_are_out() -> None:
    wanted = {"min.insync.replicas": "2"}
    assert dynamic.changes(wanted, frozenset(), {}, replicas_out=False) == wanted
    assert dynamic.changes(wanted, frozenset(), {}, replicas_out=True) == {}
