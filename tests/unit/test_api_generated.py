"""The generated CRDs, policies, roles and documents: shape, bounds, size and drift."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.api import approval, chart, generate, rbac
from controlplane.api.approval_policies import REQUESTER_POLICY
from controlplane.api.crd import INT_OR_STRING, KINDS, PRESERVE, Kind, crd, openapi_schema, structural
from controlplane.api.policies import policies
from controlplane.api.rules import VALIDATIONS

LIMIT_BYTES = 200 * 1024
FORBIDDEN = {"$ref", "$defs", "title", "const", "anyOf", "oneOf", "allOf", "nullable", "prefixItems"}


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its field path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}".lstrip("."), field)
    if "items" in schema:
        yield from nodes(f"{path}[]", schema["items"])


def unbounded(schema: dict[str, Any]) -> list[str]:
    """Field paths that let an object grow without limit."""
    found = []
    for path, node in nodes("", schema):
        if path in ("apiVersion", "kind") or node.get(PRESERVE):
            continue
        kind = node.get("type")
        if kind == "array" and "maxItems" not in node:
            found.append(path)
        if kind == "string" and "maxLength" not in node and "enum" not in node:
            found.append(path)
        if kind == "object" and "additionalProperties" in node and "maxProperties" not in node:
            found.append(path)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_schema_is_structural_and_bounded(kind: Kind) -> None:
    schema = openapi_schema(kind)
    for path, node in nodes("", schema):
        assert not FORBIDDEN & set(node), path
        assert "type" in node or node.get(INT_OR_STRING) or node.get(PRESERVE), path
        assert not isinstance(node.get("additionalProperties"), bool), path
        if node.get("type") == "array":
            assert "x-kubernetes-list-type" in node, f"{path}: how two writers merge it is not said"
        for key in node.get("x-kubernetes-list-map-keys", []):
            always = key in node["items"]["required"] or "default" in node["items"]["properties"][key]
            assert always, f"{path}: key {key} may be absent, and Kubernetes takes no such key"
    assert unbounded(schema) == []


def nulls(node: object) -> bool:
    if isinstance(node, dict):
        return any(map(nulls, node.values()))
    return node is None or (isinstance(node, list) and any(map(nulls, node)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_no_default_holds_a_null(kind: Kind) -> None:
    """The API server refuses a CRD whose default is not valid by its own schema."""
    assert [path for path, node in nodes("", openapi_schema(kind)) if nulls(node.get("default", 0))] == []
    assert nulls({"limits": {"topics": [None]}}), "the control: one would be found"


def test_an_unbounded_field_would_be_found() -> None:
    schema = openapi_schema(KINDS[0])
    del schema["properties"]["spec"]["properties"]["nodePools"]["items"]["properties"]["name"]["maxLength"]
    assert unbounded(schema) == ["spec.nodePools[].name"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_rule_says_where(kind: Kind) -> None:
    """A rule on a parent reports the parent's path only: its message begins with the path of the field meant."""
    known = {path for path, _ in nodes("", openapi_schema(kind))} | {"metadata.name"}
    for path, node in nodes("", openapi_schema(kind)):
        for entry in node.get(VALIDATIONS, []):
            assert entry["message"].split(":")[0] in known, f"{path}: {entry['message']}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_field_of_spec_is_described(kind: Kind) -> None:
    for path, node in nodes("spec", openapi_schema(kind)["properties"]["spec"]):
        if not path.endswith("[]"):
            assert node.get("description"), path


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.has_status], ids=lambda kind: kind.kind)
def test_status_has_no_defaults(kind: Kind) -> None:
    assert "default" not in {
        word for _, node in nodes("", openapi_schema(kind)["properties"]["status"]) for word in node
    }


def test_a_kind_without_a_status_serves_none() -> None:
    for kind in KINDS:
        (version,) = crd(kind)["spec"]["versions"]
        served = "status" in version["schema"]["openAPIV3Schema"]["properties"]
        assert (served, "status" in version.get("subresources", {})) == (kind.has_status, kind.has_status)
    assert [kind.kind for kind in KINDS if not kind.has_status] == ["Approval"]


def test_whoever_may_edit_may_not_thereby_approve() -> None:
    """No aggregated role holds the verb or writes Approvals; the approvers' role is aggregated into nothing."""
    roles = {item["metadata"]["name"]: item for item in rbac.objects() if "rules" in item}
    for name in ("kfleet-view", "kfleet-edit", "kfleet-operator"):
        for entry in roles[name]["rules"]:
            assert approval.VERB not in entry["verbs"], name
            assert approval.PLURAL not in entry["resources"] or set(entry["verbs"]) <= set(rbac.READ), name
    assert "labels" not in roles[approval.ROLE]["metadata"]
    held = {(plural, verb) for e in roles[approval.ROLE]["rules"] for plural in e["resources"] for verb in e["verbs"]}
    assert held == {
        *((plural, verb) for plural in ("kafkaclusters", "kafkarebalances") for verb in (*rbac.READ, "approve")),
        *(("approvals", verb) for verb in (*rbac.READ, "create", "delete")),
    }


def test_every_kind_that_can_be_approved_is_one_of_ours() -> None:
    assert approval.TARGETS.items() <= {kind.kind: kind.plural for kind in KINDS}.items()
    assert list(approval.TARGETS) == list(approval.TargetKind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_crd_is_small(kind: Kind) -> None:
    assert len(json.dumps(crd(kind))) < LIMIT_BYTES


def test_translation_refuses_what_it_cannot_say() -> None:
    with pytest.raises(ValueError, match="no structural schema"):
        structural({"anyOf": [{"type": "string"}, {"type": "boolean"}]}, {})
    assert structural({"exclusiveMinimum": 0, "type": "integer"}, {}) == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
    }
    assert structural({"const": "a", "type": "string", "title": "A"}, {}) == {"type": "string", "enum": ["a"]}


def test_each_policy_is_bound_and_denies() -> None:
    objects = policies()
    names = {item["metadata"]["name"] for item in objects if item["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [item for item in objects if item["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {item["spec"]["policyName"] for item in bindings} == names
    assert all(item["spec"]["validationActions"] == ["Deny"] for item in bindings)


def test_who_asked_is_held_to_where_plans_are_approved_or_windows_can_be_waived() -> None:
    """What the expressions do is tried on a real API server (tests/integration/test_approvals)."""
    policy = next(item for item in policies() if item["metadata"]["name"] == REQUESTER_POLICY)
    (condition,) = policy["spec"]["matchConditions"]
    for obj in ("object", "oldObject"):
        assert f"{obj}.spec.rollout.approval == 'Required'" in condition["expression"]
        assert f"size({obj}.spec.maintenanceWindows) > 0" in condition["expression"]
    taking, deleting = (item["expression"] for item in policy["spec"]["validations"][2:])
    for expression in (taking, deleting):
        assert "oldObject.spec.rollout.approval == 'Required'" in expression, "windows alone ask for no verb"


def test_roles_have_no_wildcards_and_secrets_are_asked_for_by_name_where_a_namespace_is_enrolled() -> None:
    roles = [item for item in rbac.objects() if "rules" in item]
    assert roles
    for role in roles:
        for entry in role["rules"]:
            words = {*entry["apiGroups"], *entry["resources"], *entry["verbs"]}
            assert not any("*" in word for word in words)
            if "secrets" in entry["resources"]:
                assert role["metadata"]["name"] == "kfleet-secrets"
                assert not {"list", "watch", "update", "deletecollection"} & set(entry["verbs"])


def test_nothing_binds_the_role_for_secrets_but_what_people_make() -> None:
    bound = [item for item in rbac.objects() if item["kind"].endswith("Binding")]
    assert [(item["kind"], item["roleRef"]["name"]) for item in bound] == [("ClusterRoleBinding", "kfleet-operator")]


def test_no_grant_stands_twice_and_data_is_never_deleted() -> None:
    grants = (*rbac.OPERATOR, *rbac.SECRETS)
    table = [(grant.group, grant.resource) for grant in grants]
    assert len(table) == len(set(table))
    deletable = {grant.resource for grant in grants if {"delete", "deletecollection"} & set(grant.verbs)}
    deletion = (
        "nodes come back from their volumes, plans are made anew, the credentials of a user that is revoked, the "
        "Services of a listener that is gone and the KafkaRebalances that kfleet had made and that are over go"
    )
    assert deletable == {"pods", "configmaps", "kafkarebalances", "secrets", "services"}, deletion


def test_operator_runs_under_its_own_account() -> None:
    spec = chart.deployment()["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "kfleet-operator"
    (container,) = spec["containers"]
    assert container["command"] == ["kfleet-operator"]
    assert {probe: container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }


def test_files_in_the_tree_are_as_generated() -> None:
    assert generate.drift(generate.ROOT, generate.documents()) == []


def test_drift_is_found_and_written_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--root", str(tmp_path)]
    assert generate.main([*arguments, "--check"]) == generate.EXIT_DRIFT
    assert "charts/kfleet/30-rbac.yaml is missing; run `make crds`" in capsys.readouterr().err
    assert generate.main(arguments) == 0
    assert generate.main([*arguments, "--check"]) == 0
    role = tmp_path / "charts" / "kfleet" / "30-rbac.yaml"
    role.write_text(role.read_text().replace("get", "delete"))
    stale = tmp_path / "charts" / "kfleet" / "10-crd-gone.yaml"
    stale.write_text(chart.to_yaml([]))
    by_hand = tmp_path / "docs" / "reference" / "notes.md"
    by_hand.write_text("# Notes\n")
    assert generate.main([*arguments, "--check"]) == generate.EXIT_DRIFT
    found = capsys.readouterr().err
    assert "30-rbac.yaml differs" in found
    assert "10-crd-gone.yaml is no longer generated" in found
    assert "notes.md" not in found
    assert generate.main(arguments) == 0
    assert not stale.exists()
    assert by_hand.exists()


def test_yaml_is_the_objects_and_nothing_else() -> None:
    for items in chart.files().values():
        assert list(yaml.safe_load_all(chart.to_yaml(items))) == items
