"""Tenants beside a noisy one: apart from it nobody is hurt, where shards overlap everybody is; and load shedding, from
saturated request handlers to exactly the quotas of before. In order.

Every broker has one request handler. The noisy tenant keeps that of a broker of its shard, and then those of both,
waiting for the disk rather than computing.
What others compute meanwhile would be measured too: nobody else's tests run beside these.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from confluent_kafka import Producer
from support.cell import Cell, combined_cluster
from support.enrolment import make_namespaces
from support.isolation import Client, Outcome, saturated
from support.noisy import FLUSHED, Noise
from support.secure_clients import secret
from support.users import rule

from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.domain.access.values import ClientTls

pytestmark = pytest.mark.usefixtures("alone")

VERSION = "4.3.1"
TENANTS, USERS, TOPICS = "kafkatenants.kfleet.dev", "kafkausers.kfleet.dev", "kafkatopics.kfleet.dev"
NOISY, APART, WIDE = "noisy", "apart", "wide"
"""Two tenants of two brokers each, and one that has all of them."""
PRIORITIES = {NOISY: "Bulk", APART: "Critical", WIDE: "Critical"}
PARTITIONS, CONNECTIONS, SECONDS = 64, 6, 6.0
FEW_CONNECTIONS = 3
"""A queue that others are seen to wait in. With more of them, on a slow disk, their writes would time out in it."""
MOST_PERCENT = 60.0
SHEDDING = {
    "mode": "Enabled",
    "saturatedAbove": "40ms",
    "relaxedBelow": "20ms",
    "raiseAfter": "3s",
    "releaseAfter": "6s",
    "tightenToPercent": 20,
}
Object = dict[str, Any]


def cluster() -> Object:
    pool = {"storage": {"volumes": [{"id": 0, "size": "1Gi"}]}, "jvm": {"heap": "256Mi"}}
    return combined_cluster(
        version=VERSION,
        nodePools=[
            pool | {"name": "first", "roles": ["Controller", "Broker"], "replicas": 1, "zones": ["a"]},
            pool | {"name": "brokers", "roles": ["Broker"], "replicas": 5, "zones": ["b", "c", "a"]},
        ],
        config={"num.io.threads": 1, "min.insync.replicas": 1},
        security={"nodes": "MutualTls"},
        authorization={"type": "Standard"},
        listeners=[{"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}}],
    )


def namespace(cell: Cell, name: str) -> str:
    """Of a tenant; the tenant is named so too, since other modules have some as well."""
    return f"{cell.namespace}-{name}"


def tenant(cell: Cell, name: str, size: int, overlap: int, **spec: Any) -> Object:
    body = {
        "owner": {"team": name},
        "namespaces": [namespace(cell, name)],
        "topicPrefix": f"{name}.",
        "priority": PRIORITIES[name],
        "cells": [{"kind": "KafkaCluster", "namespace": cell.namespace, "name": cell.name}],
        "shard": {"size": size, "maxOverlap": overlap},
    }
    meta = {"name": namespace(cell, name)}
    return {"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaTenant", "metadata": meta, "spec": body | spec}


def flow(cell: Cell, name: str, partitions: int, replicas: int, config: Object) -> tuple[Object, Object]:
    """A topic of the tenant, and a user that writes to it."""

    def made(kind: str, **spec: Any) -> Object:
        meta, ref = {"name": "flow", "namespace": namespace(cell, name)}, {"name": namespace(cell, name)}
        return {"apiVersion": "kfleet.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": {"tenantRef": ref} | spec}

    place = {"topicName": f"{name}.flow", "partitions": partitions, "replicas": replicas, "config": config}
    acls = [rule(f"{name}.", "Write", patternType="prefixed")]
    return (
        made("KafkaTopic", **place),
        made(
            "KafkaUser",
            userName=name,
            authentication={"type": "scram-sha-512"},
            authorization={"acls": acls},
            quotas={"producerByteRate": "50Mi"},
        ),
    )


def condition(cell: Cell, kind: str, name: str, of: str) -> str:
    """Status of Ready; "" where nothing is known of this generation."""
    found = cell.get(kind, name, namespace(cell, of))
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] == "Ready" and one["observedGeneration"] == found["metadata"]["generation"]:
            return str(one["status"])
    return ""


def secret_of(cell: Cell, name: str) -> dict[str, str]:
    elsewhere = Cell(cell.kubectl_binary, cell.kubeconfig, namespace(cell, name), cell.operator)
    return secret(elsewhere, "flow")


def shard(cell: Cell, name: str) -> set[int]:
    found = cell.get(TENANTS, namespace(cell, name))
    (of_cell,) = found["status"]["cells"]
    return set(of_cell["shard"])


@pytest.fixture(scope="module")
def tenants(cell: Cell) -> Iterator[Cell]:
    """The cluster with its tenants, each with a topic and a user."""
    names = [namespace(cell, name) for name in PRIORITIES]
    make_namespaces(cell.kubectl, *names)
    cell.operator.stop()
    cell.operator.settings["KFLEET_WATCH_NAMESPACES"] = json.dumps([cell.namespace, *names])
    cell.operator.settings["KFLEET_DELAY_INTERVAL"] = "0.5"
    cell.operator.start()
    try:
        cell.apply(cluster())
        cell.wait_ready(240)
        for name, size, overlap in ((NOISY, 2, 0), (APART, 2, 0), (WIDE, 6, 5)):
            cell.apply(tenant(cell, name, size, overlap))
            cell.wait(f"a shard of {name}", partial(_shard, cell, name))
        for name, partitions, replicas, config in (
            (NOISY, PARTITIONS, 1, FLUSHED),
            (APART, 2, 2, {}),
            (WIDE, 6, 2, {}),
        ):
            text = yaml.safe_dump_all(flow(cell, name, partitions, replicas, config))
            cell.kubectl("apply", "-n", namespace(cell, name), "-f", "-", stdin=text)
        for kind in (TOPICS, USERS):
            for name in PRIORITIES:

                def ready(kind: str = kind, name: str = name) -> bool:
                    return condition(cell, kind, "flow", name) == "True"

                cell.wait(f"{kind} of {name}", ready)
        yield cell
    finally:
        for name in names:
            cell.kubectl("delete", f"{TOPICS},{USERS}", "--all", "-n", name, "--timeout=60s", check=False)
            cell.kubectl("delete", TENANTS, name, "--timeout=60s", check=False)
            cell.kubectl("delete", "namespace", name, "--wait=false", check=False)


def _shard(cell: Cell, name: str) -> set[int]:
    with suppress(KeyError, ValueError):
        return shard(cell, name)
    return set()


def client(cell: Cell, name: str, leaders: set[int]) -> Client:
    """Of the tenant's partitions those that these brokers lead."""
    settings, topic = json.loads(secret_of(cell, name)["librdkafka.json"]), f"{name}.flow"
    found = Producer(settings).list_topics(topic, timeout=60).topics[topic].partitions.values()
    partitions = [part.id for part in found if part.leader in leaders]
    assert partitions, f"nothing of {topic} is led by {leaders}"
    return Client(topic, partitions, settings)


def noisy(cell: Cell, directory: Path) -> Client:
    """kafka-python reads what it trusts from a file."""
    found = secret_of(cell, NOISY)
    trusted = directory / "ca.crt"
    trusted.write_text(found["ca.crt"])
    settings = {
        "bootstrap_servers": found["bootstrap.servers"].split(","),
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": found["username"],
        "sasl_plain_password": found["password"],
        "ssl_cafile": str(trusted),
    }
    return Client(f"{NOISY}.flow", range(PARTITIONS), settings)


def brokers(cell: Cell) -> Iterator[psutil.Process]:
    """Processes of the cluster's nodes: what runs in the root directory of one of its pods."""
    left = {pod["metadata"]["uid"] for pod in cell.pods().values()}
    assert left
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            root = process.environ().get("KFLEET_POD_ROOT", "")
            found = {uid for uid in left if f"/pods/{uid}/" in root}
            if found and process.name() == "java":
                left -= found
                yield process
    assert not left, f"pods without a process: {left}"


def quotas(cell: Cell) -> dict[str, dict[str, float]]:
    """All of Kafka's, as its operator sees them."""
    own = secret(cell, "cell-operator-tls")
    tls = ClientTls(own["ca.crt"], own["tls.crt"], own["tls.key"])
    servers = [f"{pod['status']['podIP']}:9091" for pod in cell.pods().values()]

    async def ask() -> dict[str, dict[str, float]]:
        admins = KafkaPythonAdmins(threads=2, timeout=60.0, voter_caught_up_seconds=2.0)
        try:
            return await admins.get("test/quotas", servers, tls).describe_user_quotas()
        finally:
            await admins.close()

    return asyncio.run(ask())


def level(cell: Cell) -> int:
    return int(cell.cluster()["status"].get("loadShedding", {}).get("level", -1))


def test_a_tenant_apart_is_not_hurt_and_one_that_overlaps_is(tenants: Cell, tmp_path: Path) -> None:
    cell = tenants
    assert not shard(cell, NOISY) & shard(cell, APART)
    assert shard(cell, NOISY) < shard(cell, WIDE)
    busy = {min(shard(cell, NOISY))}  # one broker: two of them, with TLS, are too much for two processors
    outcome: Outcome = saturated(
        replace(noisy(cell, tmp_path), partitions=client(cell, NOISY, busy).partitions),
        FEW_CONNECTIONS,
        client(cell, APART, shard(cell, APART)),
        client(cell, WIDE, busy),
        seconds=SECONDS,
        processes=lambda: brokers(cell),
    )
    print(f"\n{outcome}")
    assert outcome.overlapping_is_hurt, f"the control: {outcome}"
    assert outcome.apart_is_unhurt, outcome
    assert outcome.processors["test"] < MOST_PERCENT, f"the processors were the bottleneck: {outcome}"


def test_load_is_shed_and_given_back_exactly(tenants: Cell, tmp_path: Path) -> None:
    cell = tenants
    before, status = quotas(cell), cell.cluster()["status"]
    assert before[NOISY] == {"producer_byte_rate": 50.0 * 2**20}
    cell.patch({"loadShedding": SHEDDING})
    cell.wait("the brokers to be watched", lambda: level(cell) == 0)
    task = noisy(cell, tmp_path)
    with Noise(task.topic, task.partitions, CONNECTIONS, task.settings):
        cell.wait("Bulk tenants to be tightened", lambda: level(cell) >= 2)
        tightened = before | {NOISY: {"producer_byte_rate": 10.0 * 2**20, "request_percentage": 20.0}}
        cell.wait("their quotas in Kafka", lambda: quotas(cell) == tightened)
        assert cell.condition("LoadShedding")["status"] == "True"
    cell.wait("everything to be given back", lambda: level(cell) == 0)
    cell.wait("the quotas of before", lambda: quotas(cell) == before)
    told = {"RebalancesPaused", "BulkTightened", "LoadReleased"}
    cell.wait("Events of all that", lambda: told <= {event["reason"] for event in cell.events()})
    cell.patch({"loadShedding": {"mode": "Disabled"}})
    cell.wait("nobody to watch", lambda: level(cell) == -1)
    after = cell.cluster()["status"]
    assert "LoadShedding" not in {one["type"] for one in after["conditions"]}
    assert (after["bootstrapServers"], after["nodes"]) == (status["bootstrapServers"], status["nodes"])
    assert quotas(cell) == before
