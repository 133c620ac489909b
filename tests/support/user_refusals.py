"""Bad input of KafkaUsers as tables (see support.refusals), injections among them."""

from __future__ import annotations

from typing import Any

import yaml
from support.refusals import ABSENT, EXAMPLES, Escape, Object, Refusal


def user() -> Object:
    document: Object = yaml.safe_load((EXAMPLES / "users" / "user.yaml").read_text())
    return document


_ACL = "spec/authorization/acls/0"
_ACLS = "spec.authorization.acls[].resource"
_TENANT: dict[str, Any] = {"spec/clusterRef": ABSENT, "spec/tenantRef": {"name": "a"}}
_CLUSTER_RULE = {f"{_ACL}/resource": {"type": "cluster"}, f"{_ACL}/operations": ["Describe"]}

INJECTIONS = (
    "a\nb",
    "a\r\nsuper.users=User:a",
    'a" password="x',
    "a'b",
    "a\\",
    "${env:HOME}",
    "${file:/etc/passwd:root}",
    "../../etc/passwd",
    "a/b",
    "a=b",
    "CN=operator,OU=kfleet",
    "a,b",
    "a;b",
    "a b",
    "a\u0000b",
    "*",
    "User:*",
    "-a",
    "a.",
    "ä",
    "$(id)",
    "`id`",
)
"""Names that a JAAS line, a properties file, a subject, a path or a shell would misread."""

USER: tuple[Refusal, ...] = (
    *(
        Refusal(f"name {name!r}", {"spec/userName": name}, "spec.userName", "should match")
        for name in INJECTIONS
    ),
    *(
        Refusal(f"resource {name!r}", {f"{_ACL}/resource/name": name}, "spec.authorization.acls[0].resource.name")
        for name in ("a\nb", "${env:HOME}", 'a"b', "a b", "a\\b", "a;b", "")
    ),
    *(
        Refusal(f"Secret {name!r}", {"spec/secretName": name}, "spec.secretName", "should match")
        for name in ("../x", "a/b", "A", "a\nb", "-a")
    ),
    Refusal("everybody", {"spec/userName": "ANONYMOUS"}, "spec.userName", "everybody who has not logged in"),
    Refusal("a long name", {"spec/userName": "a" * 65}, "spec.userName", "64"),
    Refusal("a long object's name", {"metadata/name": "a" * 65}, "metadata.name", "give spec.userName"),
    Refusal(
        "a certificate's name in capitals",
        {"spec/authentication": {"type": "tls"}, "spec/userName": "Alice"},
        "spec.userName",
        "brokers take no other name",
    ),
    Refusal("the cluster's key", {"spec/secretName": "quickstart-clients-ca-key"}, "spec.secretName", "cluster's own"),
    Refusal("named like a node's", {"metadata/name": "quickstart-nodes-0-tls"}, "spec.secretName", "cluster's own"),
    Refusal("no cluster", {"spec/clusterRef": ABSENT}, "spec.clusterRef", "exactly one of clusterRef and tenantRef"),
    Refusal("a cluster and a tenant", {"spec/tenantRef": {"name": "a"}}, "spec.clusterRef", "exactly one of"),
    Refusal("a tenant without a name", _TENANT | {"spec/tenantRef": {}}, "spec.tenantRef.name", "Required value"),
    Refusal(
        "half a cell",
        _TENANT | {"spec/tenantRef": {"name": "a", "cell": {"name": "a"}}},
        "spec.tenantRef.cell.namespace",
        "Required value",
    ),
    Refusal(
        "a tenant's with a cluster's Secret",
        _TENANT | {"spec/secretName": "any-tls"},
        "spec.secretName",
        "clusters' own",
    ),
    Refusal("no authentication", {"spec/authentication": ABSENT}, "spec.authentication", "Required value"),
    Refusal("plain passwords", {"spec/authentication/type": "plain"}, "spec.authentication.type", "Unsupported"),
    Refusal("an age in words", {"spec/authentication/rotateAfter": "daily"}, "spec.authentication.rotateAfter"),
    Refusal("unknown operation", {f"{_ACL}/operations": ["Fly"]}, "spec.authorization.acls[0].operations[0]"),
    Refusal("operation in lower case", {f"{_ACL}/operations": ["read"]}, "spec.authorization.acls[0].operations[0]"),
    Refusal("no operation", {f"{_ACL}/operations": []}, "spec.authorization.acls[0].operations"),
    Refusal("unknown resource", {f"{_ACL}/resource/type": "user"}, "spec.authorization.acls[0].resource.type"),
    Refusal(
        "an operation that topics have not",
        {f"{_ACL}/operations": ["ClusterAction"]},
        "spec.authorization.acls[].operations",
        "topic takes only All, Read",
    ),
    Refusal(
        "an operation that groups have not",
        {f"{_ACL}/resource/type": "group", f"{_ACL}/operations": ["Write"]},
        "spec.authorization.acls[].operations",
        "group takes only",
    ),
    Refusal("a prefix of everything", {f"{_ACL}/resource": {"type": "topic", "name": "*", "patternType": "prefixed"}},
            f"{_ACLS}.name", "only with patternType literal"),
    Refusal("a topic without a name", {f"{_ACL}/resource": {"type": "topic"}}, f"{_ACLS}.name", "names one topic"),
    Refusal(
        "a cluster with a name",
        _CLUSTER_RULE | {f"{_ACL}/resource": {"type": "cluster", "name": "kafka-cluster"}},
        f"{_ACLS}.name",
        "only one cluster",
    ),
    Refusal(
        "a cluster by prefix",
        _CLUSTER_RULE | {f"{_ACL}/resource": {"type": "cluster", "patternType": "prefixed"}},
        f"{_ACLS}.patternType",
        "only one cluster",
    ),
    *(
        Refusal(
            f"{operation} on the cluster",
            _CLUSTER_RULE | {f"{_ACL}/operations": ["Describe", operation]},
            "spec.authorization.acls[].operations",
            "no user is allowed more than Describe",
        )
        for operation in ("All", "Create", "Alter", "AlterConfigs", "ClusterAction")
    ),
    *(
        Refusal(f"host {host!r}", {f"{_ACL}/host": host}, "spec.authorization.acls", "IP address")
        for host in ("10.0.0.0/8", "example.com", "10.0.0.*", "10.0.0.1\n")
    ),
    Refusal("too many rules", {"spec/authorization/acls": [user()["spec"]["authorization"]["acls"][0]] * 65},
            "spec.authorization.acls", "64"),
    *(
        Refusal(f"quota {value!r}", {f"spec/quotas/{field}": value}, f"spec.quotas.{field}", "above zero")
        for field, value in (("producerByteRate", "0"), ("consumerByteRate", "fast"), ("requestPercentage", "-1"))
    ),
)  # fmt: skip

TAKEN: tuple[dict[str, Any], ...] = (
    {"spec/userName": "Team.A_service-1"},
    {"spec/authentication": {"type": "tls"}},
    {f"{_ACL}/resource": {"type": "topic", "name": "*"}},
    {f"{_ACL}/host": "fe80::1"},
    _CLUSTER_RULE,
    _CLUSTER_RULE | {f"{_ACL}/type": "deny", f"{_ACL}/operations": ["All", "Create"]},
    {"spec/quotas": {"controllerMutationRate": "0.5"}},
    {"spec/authorization": ABSENT, "spec/quotas": ABSENT},
    _TENANT,
    _TENANT | {"spec/tenantRef": {"name": "a", "cell": {"namespace": "b", "name": "c"}}},
    _TENANT | {"metadata/name": "any-tls", "spec/secretName": "any"},
)
"""Changes that nothing is wrong with."""

ESCAPES: tuple[Escape, ...] = (
    Escape("another cluster", {"spec/clusterRef/name": "other"}, "spec.clusterRef", "does not move", {}),
    Escape("a tenant instead", _TENANT, "spec.clusterRef", "does not move", {}),
    Escape("another tenant", {"spec/tenantRef/name": "b"}, "spec.tenantRef", "does not move", _TENANT),
    Escape(
        "a cell later",
        {"spec/tenantRef/cell": {"namespace": "b", "name": "c"}},
        "spec.tenantRef",
        "does not move",
        _TENANT,
    ),
    Escape("another credential", {"spec/authentication/type": "tls"}, "spec.authentication.type", "immutable", {}),
    Escape("another name", {"spec/userName": "b"}, "spec.userName", "immutable", {"spec/userName": "a"}),
    Escape("a name later", {"spec/userName": "b"}, "spec.userName", "immutable", {}),
    Escape("a name no more", {"spec/userName": ABSENT}, "spec.userName", "immutable", {"spec/userName": "a"}),
    Escape("another Secret", {"spec/secretName": "b"}, "spec.secretName", "immutable", {"spec/secretName": "a"}),
)
