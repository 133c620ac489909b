"""The models read what the API server sends, and the operator's own checks refuse what admission refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support import refusals
from support.refusals import Refusal, changed

from controlplane.api.kafka_cluster import KafkaCluster, KafkaClusterStatus, NodeStatus
from controlplane.api.kafka_rebalance import KafkaRebalance
from controlplane.api.kafka_topic import KafkaTopic
from controlplane.api.owned_config import CLUSTER, TOPIC, check_config, config_texts
from controlplane.api.roles import Role
from controlplane.api.validate import check_cluster, check_rebalance, check_topic, explain, problems_of


def problems(obj: dict[str, Any]) -> list[tuple[str, str]]:
    """As reconcile finds them: what cannot be read, else what is wrong in what was read."""
    try:
        if obj["kind"] == "KafkaCluster":
            return check_cluster(KafkaCluster.model_validate(obj))
        if obj["kind"] == "KafkaRebalance":
            return check_rebalance(KafkaRebalance.model_validate(obj))
        return check_topic(KafkaTopic.model_validate(obj))
    except ValidationError as error:
        return problems_of(error)


def test_reads_an_object_of_the_api_server() -> None:
    obj = refusals.cluster()
    obj["metadata"] |= {
        "uid": "u",
        "generation": 3,
        "resourceVersion": "17",
        "managedFields": [],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"kfleet.dev/paused": "true"},
    }
    obj["spec"]["aFieldOfTheFuture"] = {"x": 1}
    obj["status"] = {
        "observedGeneration": 2,
        "nodes": [{"id": 0, "pool": "brokers", "ready": True, "state": "Running"}],
    }
    cluster = KafkaCluster.model_validate(obj)
    assert (cluster.metadata.name, cluster.metadata.generation, cluster.metadata.uid) == ("quickstart", 3, "u")
    assert cluster.metadata.deletion_timestamp == "2026-01-01T00:00:00Z"
    assert cluster.spec.node_pools[1].roles == (Role.BROKER,)
    assert cluster.spec.node_pools[0].storage.volumes[0].size == "1Gi"
    assert cluster.spec.config["min.insync.replicas"] == 2
    assert cluster.status.nodes == (NodeStatus(id=0, pool="brokers", ready=True, state="Running"),)


def test_models_are_frozen() -> None:
    cluster = KafkaCluster.model_validate(refusals.cluster())
    with pytest.raises(ValidationError, match="frozen"):
        cluster.spec.version = "4.3.1"  # type: ignore[misc]


def test_status_is_written_in_camel_case_and_without_nulls() -> None:
    status = KafkaClusterStatus(observed_generation=4, bootstrap_servers=("10.0.0.1:9092",))
    written = status.to_object()
    assert written["observedGeneration"] == 4
    assert written["bootstrapServers"] == ["10.0.0.1:9092"]
    assert "clusterId" not in written
    assert None not in written.values()
    assert KafkaClusterStatus.model_validate(written) == status


def test_examples_have_no_problems() -> None:
    assert problems(refusals.quickstart()) == []
    assert problems(refusals.cluster()) == []
    assert problems(refusals.topic()) == []
    assert problems(refusals.rebalance()) == []


def test_topic_name_defaults_to_the_objects() -> None:
    assert KafkaTopic.model_validate(refusals.topic()).topic_name == "orders"
    named = changed(refusals.topic(), {"spec/topicName": "Orders_v1"})
    assert KafkaTopic.model_validate(named).topic_name == "Orders_v1"


@pytest.mark.parametrize("case", refusals.CLUSTER + refusals.CLUSTER_CONFIG, ids=lambda case: case.name)
def test_what_admission_refuses_of_a_cluster_the_operator_refuses(case: Refusal) -> None:
    found = problems(changed(refusals.cluster(), case.changes))
    assert found
    assert case.path.split("[")[0] in explain(found)


@pytest.mark.parametrize("case", refusals.TOPIC + refusals.TOPIC_CONFIG, ids=lambda case: case.name)
def test_what_admission_refuses_of_a_topic_the_operator_refuses(case: Refusal) -> None:
    found = problems(changed(refusals.topic(), case.changes))
    assert found
    assert case.path.split("[")[0].removeprefix("metadata.") in explain(found)


@pytest.mark.parametrize("case", refusals.REBALANCE, ids=lambda case: case.name)
def test_what_admission_refuses_of_a_rebalance_the_operator_refuses(case: Refusal) -> None:
    found = problems(changed(refusals.rebalance(), case.changes))
    assert found
    assert case.path in explain(found)


@pytest.mark.parametrize("case", refusals.CLUSTER_CONFIG, ids=lambda case: case.name)
def test_config_is_refused_in_the_policys_words(case: Refusal) -> None:
    (found,) = check_config(case.changes["spec/config"], CLUSTER)
    assert found[0] == case.path or found[0].startswith("spec.config[kkk")
    assert case.says in found[1]


def test_cpu_request_above_its_limit() -> None:
    """Only here: CPU may be a number, which CEL cannot compare within its cost budget."""
    resources = {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}
    found = problems(changed(refusals.cluster(), {"spec/nodePools/0/resources": resources}))
    assert found == [("spec.nodePools[controllers].resources.requests.cpu", "must not exceed resources.limits.cpu")]


def test_config_values_as_kafka_spells_them() -> None:
    config = {"a": True, "b": 1_000_000.0, "c": 0.5, "d": 604_800_000, "e": "TRUE", "f": False}
    assert check_config(config, TOPIC) == []
    assert config_texts(config) == {
        "a": "true",
        "b": "1000000",
        "c": "0.5",
        "d": "604800000",
        "e": "TRUE",
        "f": "false",
    }


def test_null_is_not_a_scalar() -> None:
    assert check_config({"a": None}) == [
        ("spec.config[a]", "must be text, a number or a boolean; write a list as text with commas")
    ]
