"""What a real API server refuses and admits once charts/kfleet is applied, as a person with kubectl meets it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import refusals, tenant_refusals, user_refusals
from support.api_server import ApiServer, running_api_server
from support.refusals import Escape, Refusal, changed

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.api import chart, rbac
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.owned_config import CLUSTER
from controlplane.ports import InvalidError, Resource

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.sandbox

PLACEHOLDER = {"spec/config": {"compression.type": "${env:HOME}"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """With the chart's files applied, and its policies in force (they take effect a moment after they are created)."""
    with running_api_server(tmp_path_factory.mktemp("api-server")) as running:
        running.kubectl("apply", "-f", str(ROOT / "charts" / "kfleet"))
        kinds = ("kafkaclusters", "kafkatopics", "kafkarebalances", "kafkausers", "kafkatenants")
        for kind in (f"{kind}.kfleet.dev" for kind in kinds):
            running.kubectl("wait", "--for=condition=Established", f"crd/{kind}", "--timeout=30s")
        running.kubectl("create", "namespace", "kafka")
        for obj in (refusals.cluster(), refusals.topic()):
            running.until(
                "create", "--dry-run=server", "-f", "-", objects=[changed(obj, PLACEHOLDER)], says="spec.config["
            )
        yield running


def client(server: ApiServer) -> KubeClient:
    return KubeClient(from_kubeconfig(server.kubeconfig), timeout=60.0)


def resource(obj: dict[str, Any]) -> Resource:
    namespaced = "namespace" in obj["metadata"]
    return Resource(GROUP, VERSION, f"{obj['kind'].lower()}s", obj["kind"], namespaced=namespaced)


async def send(server: ApiServer, obj: dict[str, Any]) -> dict[str, Any]:
    """Create in a dry run through our own client, checked as kubectl checks. Raises KubeError."""
    path = resource(obj).path(obj["metadata"].get("namespace"))
    async with client(server) as kube:
        return await kube.request("POST", path, body=obj, params={"dryRun": "All", "fieldValidation": "Strict"})


async def refused(server: ApiServer, obj: dict[str, Any], *says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        await send(server, obj)
    for words in says:
        assert words in refusal.value.message


def refused_by_kubectl(server: ApiServer, obj: dict[str, Any], *says: str) -> None:
    answer = server.try_kubectl("create", "--dry-run=server", "-f", "-", objects=[obj])
    assert answer.code != 0, f"admitted: {answer.text}"
    for words in says:
        assert words in answer.text


@pytest.mark.parametrize("case", refusals.CLUSTER + refusals.CLUSTER_CONFIG, ids=lambda case: case.name)
async def test_bad_cluster_is_refused(server: ApiServer, case: Refusal) -> None:
    await refused(server, changed(refusals.cluster(), case.changes), case.path, case.says)


@pytest.mark.parametrize("case", refusals.TOPIC + refusals.TOPIC_CONFIG, ids=lambda case: case.name)
async def test_bad_topic_is_refused(server: ApiServer, case: Refusal) -> None:
    await refused(server, changed(refusals.topic(), case.changes), case.path, case.says)


@pytest.mark.parametrize("case", refusals.REBALANCE, ids=lambda case: case.name)
async def test_bad_rebalance_is_refused(server: ApiServer, case: Refusal) -> None:
    await refused(server, changed(refusals.rebalance(), case.changes), case.path, case.says)


@pytest.mark.parametrize("case", user_refusals.USER, ids=lambda case: case.name)
async def test_bad_user_is_refused(server: ApiServer, case: Refusal) -> None:
    await refused(server, changed(user_refusals.user(), case.changes), case.path, case.says)


@pytest.mark.parametrize("case", tenant_refusals.TENANT, ids=lambda case: case.name)
async def test_bad_tenant_is_refused(server: ApiServer, case: Refusal) -> None:
    await refused(server, changed(tenant_refusals.tenant(), case.changes), case.path, case.says)


@pytest.mark.parametrize("changes", tenant_refusals.TAKEN, ids=str)
async def test_a_tenant_that_nothing_is_wrong_with_is_taken(server: ApiServer, changes: dict[str, Any]) -> None:
    await send(server, changed(tenant_refusals.tenant(), changes))


@pytest.mark.parametrize("changes", [{}, *user_refusals.TAKEN], ids=str)
async def test_a_user_that_nothing_is_wrong_with_is_taken(server: ApiServer, changes: dict[str, Any]) -> None:
    await send(server, changed(user_refusals.user(), changes))


SHOWN_TO_PEOPLE = {
    "no controllers",
    "two voters",
    "negative size",
    "a placeholder",
    "the operator's listeners",
    "a list",
}


@pytest.mark.parametrize(
    "case",
    [case for case in refusals.CLUSTER + refusals.CLUSTER_CONFIG if case.name in SHOWN_TO_PEOPLE],
    ids=lambda case: case.name,
)
def test_kubectl_shows_the_field_and_the_reason(server: ApiServer, case: Refusal) -> None:
    refused_by_kubectl(server, changed(refusals.cluster(), case.changes), case.path, case.says)


async def test_every_owned_setting_is_refused(server: ApiServer) -> None:
    kind = resource(refusals.cluster())
    async with client(server) as kube:
        for key in (*CLUSTER.keys, *(f"{prefix}x" for prefix in CLUSTER.prefixes)):
            bad = changed(refusals.cluster(), {"spec/config": {key: "1"}})
            with pytest.raises(InvalidError, match=re.escape(f"spec.config[{key}]")):
                await kube.create(kind, bad)


GOOD_CLUSTERS: dict[str, dict[str, Any]] = {
    "as in the quickstart": {
        f"spec/{key}": refusals.quickstart()["spec"][key] for key in ("security", "authorization", "listeners")
    },
    "in plaintext": {},
    "one combined node": {
        "spec/nodePools": [
            {
                "name": "all",
                "roles": ["Broker", "Controller"],
                "replicas": 1,
                "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
            }
        ]
    },
    "two disks": {
        "spec/nodePools/1/storage/volumes": [
            {"id": 0, "size": "1.5Gi", "storageClassName": "fast"},
            {"id": 1, "size": "2000M"},
        ]
    },
    "CPU as a number": {"spec/nodePools/0/resources": {"requests": {"cpu": 1}, "limits": {"cpu": "1500m"}}},
    "every scalar in config": {
        "spec/config": {
            "a": "text",
            "b": 1,
            "c": 0.5,
            "d": False,
            "e": 9_223_372_036_854_775_807,
            "f": "",
            "g": "$x {y}",
        }
    },
    "config Kafka knows and the operator leaves alone": {
        "spec/config": {"log.retention.ms": 604_800_000, "replica.fetch.backoff.ms": 50, "compression.type": "zstd"}
    },
    "pins": {"spec/metadataVersion": "4.2-IV1", "spec/clusterId": "MkU3OEVBNTcwNTJENDM2Qk"},
    "three listeners": {"spec/listeners": [{"name": name, "port": 9092 + n} for n, name in enumerate("abc")]},
    "no soak": {"spec/rollout": {"soak": "0s"}},
}


@pytest.mark.parametrize("changes", GOOD_CLUSTERS.values(), ids=GOOD_CLUSTERS)
async def test_good_cluster_is_admitted(server: ApiServer, changes: dict[str, Any]) -> None:
    admitted = await send(server, changed(refusals.cluster(), changes))
    assert KafkaCluster.model_validate(admitted).spec.config == changed(refusals.cluster(), changes)["spec"]["config"]


def test_examples_are_admitted_with_the_defaults_people_see(server: ApiServer) -> None:
    for file in sorted((ROOT / "examples" / "quickstart").glob("*.yaml")):
        server.kubectl("apply", "--dry-run=server", "-f", str(file))
    bare = changed(refusals.cluster(), {"spec/rollout": refusals.ABSENT, "spec/deletionPolicy": refusals.ABSENT})
    text = server.kubectl("create", "--dry-run=server", "-o", "yaml", "-f", "-", objects=[bare])
    spec = yaml.safe_load(text)["spec"]
    assert spec["rollout"] == {
        "batchBy": "Rack",
        "maxUnavailable": 1,
        "soak": "30m",
        "unprotectedPartitions": "Block",
        "approval": "NotRequired",
        "onFault": "RollBack",
        "faultAfter": "10m",
        "retryToken": "",
        "canary": "Enabled",
    }
    assert spec["deletionPolicy"] == "Retain"
    assert "clusterId" not in spec
    assert "metadataVersion" not in spec


@pytest.mark.parametrize("path", ["spec/profiles", "spec/nodePools/0/zone", "spec/listeners/0/ssl", "surprise"])
def test_unknown_fields_are_refused_by_kubectl(server: ApiServer, path: str) -> None:
    """kubectl asks for fieldValidation=Strict by itself; without it the API server prunes them, silently."""
    field = ".".join(step for step in path.split("/") if not step.isdecimal()).replace("nodePools.", "nodePools[0].")
    field = field.replace("listeners.", "listeners[0].")
    bad = changed(refusals.cluster(), {path: {"type": "Standard"}})
    refused_by_kubectl(server, bad, f'unknown field "{field}"')
    server.kubectl("create", "--dry-run=server", "--validate=ignore", "-f", "-", objects=[bad])


async def _escapes(server: ApiServer, obj: dict[str, Any], case: Escape) -> None:
    """The whole object is replaced, so that what is left out is removed; the stored one stays what it was."""
    kind, before = resource(obj), changed(obj, case.before)
    async with client(server) as kube:
        stored = await kube.create(kind, before)
        try:
            after = changed(stored, case.changes)
            with pytest.raises(InvalidError) as refusal:
                await kube.replace(kind, after)
            assert case.path in refusal.value.message
            assert case.says in refusal.value.message
            assert await kube.get(kind, obj["metadata"]["name"], obj["metadata"].get("namespace")) == stored
        finally:
            await kube.delete(kind, obj["metadata"]["name"], obj["metadata"].get("namespace"))


@pytest.mark.parametrize("case", refusals.CLUSTER_ESCAPES, ids=lambda case: case.name)
async def test_identity_of_a_cluster_stays(server: ApiServer, case: Escape) -> None:
    await _escapes(server, refusals.cluster(), case)


@pytest.mark.parametrize("case", refusals.TOPIC_ESCAPES, ids=lambda case: case.name)
async def test_identity_of_a_topic_stays(server: ApiServer, case: Escape) -> None:
    await _escapes(server, refusals.topic(), case)


@pytest.mark.parametrize("case", refusals.REBALANCE_ESCAPES, ids=lambda case: case.name)
async def test_a_rebalance_never_changes(server: ApiServer, case: Escape) -> None:
    await _escapes(server, refusals.rebalance(), case)


@pytest.mark.parametrize("case", user_refusals.ESCAPES, ids=lambda case: case.name)
async def test_identity_of_a_user_stays(server: ApiServer, case: Escape) -> None:
    await _escapes(server, user_refusals.user(), case)


@pytest.mark.parametrize("case", tenant_refusals.ESCAPES, ids=lambda case: case.name)
async def test_identity_of_a_tenant_stays(server: ApiServer, case: Escape) -> None:
    await _escapes(server, tenant_refusals.tenant(), case)


def test_kubectl_shows_what_cannot_change(server: ApiServer) -> None:
    """By server-side apply too: renaming a pool under one manager is a removal and an addition."""
    cluster = refusals.cluster()
    server.kubectl("apply", "--server-side", "-f", "-", objects=[cluster])
    try:
        renamed = changed(cluster, {"spec/nodePools/1/name": "others"})
        for flags in (["--server-side"], ["--server-side", "--force-conflicts"]):
            answer = server.try_kubectl("apply", *flags, "-f", "-", objects=[renamed])
            assert answer.code != 0
            assert "spec.nodePools: a pool cannot be removed or renamed" in answer.text
    finally:
        server.kubectl("-n", "kafka", "delete", "kfc/quickstart")


GOOD_UPDATES: dict[str, dict[str, Any]] = {
    "a new version": {"spec/version": "4.3.1"},
    "more brokers": {"spec/nodePools/1/replicas": 5},
    "what arrives later is admitted and left to the operator: fewer replicas": {"spec/nodePools/1/replicas": 2},
    "what arrives later is admitted and left to the operator: voters": {"spec/nodePools/0/replicas": 5},
    "what arrives later is admitted and left to the operator: sizes": {
        "spec/nodePools/1/storage/volumes/0/size": "4Gi"
    },
    "a listener": {"spec/listeners/1": {"name": "more", "port": 9093, "type": "Internal"}},
    "another pool": {
        "spec/nodePools/2": {
            "name": "more",
            "roles": ["Broker"],
            "replicas": 1,
            "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
        }
    },
}


@pytest.mark.parametrize("changes", GOOD_UPDATES.values(), ids=GOOD_UPDATES)
async def test_what_may_change_may_change(server: ApiServer, changes: dict[str, Any]) -> None:
    cluster = refusals.cluster()
    async with client(server) as kube:
        stored = await kube.create(resource(cluster), cluster)
        try:
            replaced = await kube.replace(resource(cluster), changed(stored, changes))
            assert replaced["spec"] == changed(stored, changes)["spec"]
        finally:
            await kube.delete(resource(cluster), "quickstart", "kafka")


def test_a_setting_that_became_owned_blocks_neither_labels_nor_deletion(server: ApiServer) -> None:
    """An object that an older policy let in can still be labelled, get a status and be deleted; its config is stuck."""
    policy = f"validatingadmissionpolicybinding/kafkacluster-config.{GROUP}"
    bad = changed(refusals.cluster(), PLACEHOLDER)
    server.kubectl("delete", policy)
    server.until("create", "--dry-run=server", "-f", "-", objects=[bad])
    server.kubectl("create", "-f", "-", objects=[bad])
    server.kubectl("apply", "-f", str(ROOT / "charts" / "kfleet" / "20-policies.yaml"))
    server.until("create", "--dry-run=server", "-f", "-", objects=[bad], says="spec.config[")
    try:
        server.kubectl("-n", "kafka", "label", "kfc/quickstart", "kfleet.dev/ring=canary")
        status = '{"status":{"version":"4.2.0"}}'
        server.kubectl("-n", "kafka", "patch", "kfc/quickstart", "--subresource=status", "--type=merge", "-p", status)
        worse = '{"spec":{"config":{"compression.type":"${env:PATH}"}}}'
        answer = server.try_kubectl("-n", "kafka", "patch", "kfc/quickstart", "--type=merge", "-p", worse)
        assert "spec.config[compression.type]" in answer.text
    finally:
        server.kubectl("-n", "kafka", "delete", "kfc/quickstart")


STRIMZI = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "kafkatopics.kafka.strimzi.io"},
    "spec": {
        "group": "kafka.strimzi.io",
        "scope": "Namespaced",
        "names": {"kind": "KafkaTopic", "plural": "kafkatopics", "singular": "kafkatopic", "shortNames": ["kt"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def test_strimzi_beside_ours(server: ApiServer) -> None:
    """`kft` and the full name always mean ours, whatever `kafkatopic` means then."""
    server.kubectl("apply", "-f", "-", objects=[STRIMZI])
    server.kubectl("wait", "--for=condition=Established", "crd/kafkatopics.kafka.strimzi.io", "--timeout=30s")
    theirs = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": "orders", "namespace": "kafka"},
    }
    try:
        server.until("apply", "-f", "-", objects=[theirs])
        server.kubectl("apply", "-f", "-", objects=[refusals.topic()])
        for name in ("kft", "kafkatopics.kfleet.dev"):
            found = server.kubectl("-n", "kafka", "get", name, "orders", "-o", "jsonpath={.apiVersion}")
            assert found == "kfleet.dev/v1alpha1"
        found = server.kubectl(
            "-n", "kafka", "get", "kafkatopics.kafka.strimzi.io", "orders", "-o", "jsonpath={.apiVersion}"
        )
        assert found == "kafka.strimzi.io/v1"
    finally:
        server.kubectl("-n", "kafka", "delete", "kft", "orders", "--ignore-not-found")
        server.kubectl("delete", "crd", "kafkatopics.kafka.strimzi.io")


def test_explain_and_columns(server: ApiServer) -> None:
    assert "metadata.version is finalised" in server.until("explain", "kfc.spec.rollout.soak").stdout
    assert "partitions" in server.until("explain", "kafkatopics.kfleet.dev.spec").stdout
    assert "replicasOutBefore" in server.kubectl("explain", "kfc.status.operation")
    server.kubectl("create", "-f", "-", objects=[refusals.cluster(), refusals.topic()])
    status = {
        "status": {
            "version": "4.2.0",
            "bootstrapServers": ["10.0.0.1:9092"],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "False",
                    "reason": "Starting",
                    "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
        }
    }
    try:
        text = yaml.safe_dump(status)
        server.kubectl("-n", "kafka", "patch", "kfc/quickstart", "--subresource=status", "--type=merge", "-p", text)
        header, row = server.kubectl("-n", "kafka", "get", "kfc").splitlines()
        assert header.split() == ["NAME", "READY", "REASON", "VERSION", "METADATA", "BOOTSTRAP", "AGE"]
        assert row.split()[:5] == ["quickstart", "False", "Starting", "4.2.0", "10.0.0.1:9092"]
        assert "orders" in server.kubectl("-n", "kafka", "get", "kft")
        assert "orders" in server.kubectl("-n", "kafka", "get", "kfleet")
        assert server.kubectl("-n", "kafka", "wait", "--for=condition=Ready=false", "kfc/quickstart", "--timeout=5s")
    finally:
        server.kubectl("-n", "kafka", "delete", "kfc/quickstart", "kft/orders")


async def _may(
    kube: KubeClient, verb: str, group: str, resource: str, namespace: str, *, object_name: str = ""
) -> bool:
    plural, _, subresource = resource.partition("/")
    attributes = {
        "name": object_name,
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "namespace": namespace,
    }
    spec = {"user": "system:serviceaccount:kfleet:kfleet-operator", "resourceAttributes": attributes}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = await kube.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review)
    return bool(answer["status"]["allowed"])


async def test_operator_may_do_what_its_table_says_and_no_more(server: ApiServer) -> None:
    async with client(server) as kube:
        for grant in rbac.OPERATOR:
            for verb, name in itertools.product(grant.verbs, grant.names or ("",)):
                allowed = await _may(kube, verb, grant.group, grant.resource, "kfleet", object_name=name)
                assert allowed, f"{verb} {grant.resource} {name}"
        for verb, group, name in (
            *((verb, "", "secrets") for verb in ("list", "watch", "update", "deletecollection")),
            ("delete", "", "persistentvolumeclaims"),
            ("delete", "coordination.k8s.io", "leases"),
            ("get", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            ("create", GROUP, "approvals"),
            ("approve", GROUP, "kafkaclusters"),
            ("update", GROUP, "kafkaclusters"),
            ("delete", GROUP, "kafkatopics"),
            ("create", GROUP, "kafkatenants"),
            ("deletecollection", GROUP, "kafkarebalances"),
            ("create", "rbac.authorization.k8s.io", "clusterroles"),
            ("*", "*", "*"),
        ):
            assert not await _may(kube, verb, group, name, "kafka"), f"{verb} {name}"


def test_chart_files_are_what_the_package_applies(server: ApiServer) -> None:
    """`chart.objects()` is what a sandbox installs without files: applied on top it changes nothing."""
    text = server.kubectl("apply", "-f", "-", objects=chart.objects())
    assert {line.rsplit(" ", 1)[1] for line in text.splitlines()} == {"unchanged"}, text
