"""What `kfleet user` shows and asks: the checks of a login, a description, and changes that wait for the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import cli_fleet
from support.canned_api import CannedApi, canned_api
from support.cli_tree import Run, problems_of_error, run
from support.tenant_users import tenants_user
from support.users import rule, user

from controlplane.api.kafka_user import KafkaUser
from controlplane.cli.lookup import USERS
from controlplane.cli.user_view import Description, description_text
from controlplane.domain.access.pki import Certificate
from controlplane.domain.users import probe
from controlplane.domain.users.probe import Attempt, LoginResult
from controlplane.ports import Resource

GRANTED = {
    "orders": frozenset({"Read", "Describe"}),
    "invoices.a": frozenset({"Write", "Describe"}),
    "invoices.b": frozenset({"Describe"}),
}


def rules_of(*acls: dict[str, Any]) -> tuple[Any, ...]:
    return KafkaUser.model_validate(user("app", *acls)).spec.authorization.acls


def checked(*acls: dict[str, Any]) -> list[tuple[bool, str]]:
    groups = {"billing": frozenset({"Read", "Describe"})}
    result = LoginResult((Attempt("b:1"),), GRANTED, frozenset({"denied"}), groups, frozenset({"closed"}))
    return [(check.ok, check.evidence) for check in probe.check_rules(rules_of(*acls), result)]


@pytest.mark.parametrize(
    ("acl", "ok", "says"),
    [
        (rule("orders", "Read"), True, "Read on topic orders: as declared (1 asked)."),
        (rule("orders", "Write"), False, "on orders the brokers do not grant Write"),
        (rule("invoices.", "Write", patternType="prefixed"), False, "on invoices.b the brokers do not grant Write"),
        (rule("orders", "All"), True, "All on topic orders: as declared"),
        (rule("*", "Describe"), True, "(3 asked)"),
        (rule("later", "Read"), True, "there is none to ask about"),
        (rule("denied", "Read"), False, "on denied the brokers do not grant Describe, Read"),
        (rule("denied", "Create"), True, "there is none to ask about"),
        (rule("closed", "Read", kind="group"), False, "on closed the brokers do not grant Describe, Read"),
        (rule("billing", "Read", kind="group"), True, "Read on group billing: as declared"),
        (rule("billing", "Delete", kind="group"), False, "on billing the brokers do not grant Delete"),
    ],
)
def test_each_rule_is_held_against_the_brokers_word(acl: dict[str, Any], ok: bool, says: str) -> None:  # noqa: FBT001
    ((found, evidence),) = checked(acl)
    assert (found, says in evidence) == (ok, True), evidence


@pytest.mark.parametrize(
    ("acl", "ok", "says"),
    [
        (rule("slow", "Read"), False, "asked about slow and did not answer (no answer within 3 s)"),
        (rule("s", "Read", patternType="prefixed"), False, "asked about slow and 1 more and did not answer"),
        (rule("*", "Read"), False, "on open the brokers do not grant Read"),
        (rule("slow", "Create", kind="group"), True, "there is none to ask about"),
        (rule("quiet", "Read", kind="group"), False, "asked about quiet and did not answer (gone)"),
    ],
)
def test_what_was_not_answered_does_not_pass(acl: dict[str, Any], ok: bool, says: str) -> None:  # noqa: FBT001
    silent = {"slow": "no answer within 3 s", "soft": "gone"}
    result = LoginResult(
        (Attempt("b:1"),), {"open": frozenset({"Describe"})}, silent_topics=silent, silent_groups={"quiet": "gone"}
    )
    (check,) = probe.check_rules(rules_of(acl), result)
    assert (check.ok, says in check.evidence) == (ok, True), check.evidence


def test_rules_that_cannot_be_asked_about_are_left_out() -> None:
    assert checked(rule("orders", "Read", type="deny"), rule("x", "Write", kind="transactionalId")) == []


def test_a_secret_that_lacks_something_is_told_by_key() -> None:
    found = probe.check_secret(KafkaUser.model_validate(user("app")), {"username": "app", "password": "pa55-planted"})
    assert not found.ok
    assert "lacks bootstrap.servers, sasl.jaas.config, client.properties, librdkafka.json" in found.evidence
    assert "pa55-planted" not in repr(found)


def test_logins_and_certificates() -> None:
    good, bad = probe.check_logins([Attempt("a:1"), Attempt("b:1", "SASL authentication error")])
    assert (good.ok, good.evidence) == (True, "a:1: let in.")
    assert (bad.ok, bad.evidence) == (False, "b:1: SASL authentication error.")
    certificate = Certificate("CN=app", "CN=ca", "f", (), not_before=100.0, not_after=200.0)
    assert [probe.check_certificate(certificate, now).ok for now in (99.0, 100.0, 199.0, 200.0)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.fixture(name="api")
def fleet_api(tmp_path: Path) -> Iterator[CannedApi]:
    with canned_api(tmp_path, cli_fleet.objects()) as running:
        yield running


def kfleet(api: CannedApi, *arguments: str) -> Run:
    return run(arguments, {"KUBECONFIG": str(api.kubeconfig)})


def patched(api: CannedApi) -> list[dict[str, Any]]:
    return [body["metadata"] for method, _, body in api.requests if method == "PATCH"]


def test_a_tenants_user_is_shown_with_each_layer_of_its_quotas_and_the_one_that_binds() -> None:
    obj = tenants_user("app", rule("checkout.o"))
    obj["metadata"]["namespace"] = "checkout"
    layers = [
        {"name": "declared", "values": {"producer_byte_rate": "10"}, "binds": ["producer_byte_rate"]},
        {
            "name": "tenant",
            "values": {"producer_byte_rate": "20", "request_percentage": "25"},
            "binds": ["request_percentage"],
            "brokers": 3,
            "users": 2,
        },
    ]
    quotas = {"producer_byte_rate": "10", "request_percentage": "25"}
    obj["status"] = {"cell": "kafka/orders", "quotas": quotas, "quotaLayers": layers}
    shown = description_text(Description(KafkaUser.model_validate(obj), None), 0.0)
    for line in (
        "Tenant:      checkout",
        "Cluster:     kafka/orders",
        "  QUOTA                ON EACH BROKER   BY         DECLARED   TENANT",
        "  producer_byte_rate   10               declared   10         20",
        "  request_percentage   25               tenant     -          25",
        "  tenant: divided by 2 users, byte rates also by 3 brokers",
    ):
        assert line in shown.splitlines(), shown


def test_a_description_has_what_one_asks_for(api: CannedApi) -> None:
    shown = kfleet(api, "user", "describe", "app").stdout
    for words in (
        "Principal:   User:app",
        "State:       AsDeclared",
        "allow   Read         topic      orders   *",
        "producer_byte_rate   1048576",
        "allow Read on topic theirs",
        "and 1 more",
        "1 put back",
        "CredentialsCurrent",
    ):
        assert words in shown, shown


def test_a_rotation_asks_says_what_it_does_and_waits(api: CannedApi) -> None:
    done = kfleet(api, "user", "rotate", "app", "--yes", "--timeout", "0.5")
    assert done.code == 3
    assert done.stdout == ""
    assert "User:app gets new credentials in Secret app" in done.stderr
    assert "it has not come about within 0.5 s (AsDeclared)" in done.stderr
    (meta,) = patched(api)
    assert (meta["uid"], list(meta["annotations"])) == ("uid-app", ["kfleet.dev/rotate-at"])

    def operator_acts(_: str) -> None:
        stamp = patched(api)[-1]["annotations"]["kfleet.dev/rotate-at"]
        api.objects["KafkaUser"][0]["status"]["credential"]["rotation"] = stamp

    api.before = operator_acts
    done = kfleet(api, "user", "rotate", "app", "--yes")
    assert (done.code, "has new credentials, issued 2026-01-02" in done.stderr) == (0, True)


def test_a_revocation_takes_the_name(api: CannedApi) -> None:
    assert problems_of_error(Run(*_last_line(kfleet(api, "user", "revoke", "app"))), 2, "--confirm app") == []
    wrong = kfleet(api, "user", "revoke", "app", "--confirm", "ap")
    assert (wrong.code, "nothing was done" in wrong.stderr) == (1, True)
    assert patched(api) == []
    obj = api.objects["KafkaUser"][0]

    def act(_: str) -> None:
        if patched(api):
            obj["metadata"]["annotations"] = patched(api)[-1]["annotations"]
            obj["status"]["conditions"][0] |= {"status": "False", "reason": "Revoked"}

    api.before = act
    done = kfleet(api, "user", "revoke", "app", "--confirm", "app", "--reason", "in a\nlog")
    assert done.code == 0, done.stderr
    assert patched(api) == [{"uid": "uid-app", "annotations": {"kfleet.dev/revoked": "in a log"}}]
    assert "annotate kfu app kfleet.dev/revoked-" in done.stderr


def test_a_revocation_is_not_told_of_by_what_an_earlier_one_left(api: CannedApi) -> None:
    """The annotation was taken away, and nobody has looked yet: what is read may be older than what was asked for."""
    api.objects["KafkaUser"][0]["status"]["conditions"][0] |= {"status": "False", "reason": "Revoked"}
    done = kfleet(api, "user", "revoke", "app", "--confirm", "app", "--timeout", "0.5")
    assert (done.code, "it has not come about within 0.5 s" in done.stderr) == (3, True)


def test_a_secret_that_stays_is_not_said_to_be_gone(api: CannedApi) -> None:
    obj = api.objects["KafkaUser"][0]
    obj["metadata"]["annotations"] = {"kfleet.dev/revoked": "true"}
    conditions = obj["status"]["conditions"]
    conditions[0] |= {"status": "False", "reason": "Revoked"}
    before = kfleet(api, "user", "revoke", "app", "--confirm", "app")
    assert "is kept out, and its credentials are gone" in before.stderr, "the control"
    credentials = next(one for one in conditions if one["type"] == "CredentialsCurrent")
    credentials |= {"status": "False", "reason": "NamespaceNotEnrolled", "message": "Enrol it."}
    done = kfleet(api, "user", "revoke", "app", "--confirm", "app")
    assert done.code == 0, done.stderr
    assert "is kept out; Secret app stays. Enrol it." in done.stderr
    assert "its credentials are gone\n" not in done.stderr


def _last_line(done: Run) -> tuple[int, str, str]:
    """An error comes after what would be done was said."""
    return done.code, done.stdout, done.stderr.splitlines(keepends=True)[-1]


def test_a_revoked_user_is_not_rotated(api: CannedApi) -> None:
    api.objects["KafkaUser"][0]["metadata"]["annotations"] = {"kfleet.dev/revoked": "true"}
    done = kfleet(api, "user", "rotate", "app", "--yes")
    assert problems_of_error(done, 1, "app is revoked") == []


@pytest.mark.parametrize("name", ["", "../secrets/app", "app/status", "App", "a" * 254, "app?watch=true"])
@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("user", "describe"), "KafkaUser"),
        (("user", "test"), "KafkaUser"),
        (("user", "revoke", "--confirm", "app"), "KafkaUser"),
        (("cluster", "describe"), "KafkaCluster"),
        (("tenant", "describe"), "KafkaTenant"),
    ],
    ids=" ".join,
)
def test_what_is_no_name_leads_nowhere(api: CannedApi, command: tuple[str, ...], kind: str, name: str) -> None:
    done = kfleet(api, *command, name)
    assert problems_of_error(done, 2, f"{name!r} is no name of a {kind}") == []
    assert api.requests == []


def test_what_is_no_namespace_leads_nowhere(api: CannedApi) -> None:
    done = kfleet(api, "user", "describe", "app", "-n", "kafka/secrets/app?")
    assert problems_of_error(done, 2, "'kafka/secrets/app?' is no name of a namespace") == []
    assert api.requests == []


def test_a_name_stays_in_its_place_of_a_path() -> None:
    assert USERS.path("a/b", "../secrets/app", "status").endswith(
        "/namespaces/a%2Fb/kafkausers/..%2Fsecrets%2Fapp/status"
    )
    assert Resource("", "v1", "x", "X", namespaced=False).path(name="system:node") == "/api/v1/x/system:node"


@pytest.mark.parametrize(
    "command", [("describe",), ("test",), ("rotate", "--yes"), ("revoke", "--confirm", "app")], ids=" ".join
)
def test_a_user_that_this_version_cannot_read_is_told_by_field(api: CannedApi, command: tuple[str, ...]) -> None:
    api.objects["KafkaUser"][0]["status"]["credential"] = {"rotation": ["pa55-planted"]}
    done = kfleet(api, "user", *command, "app")
    assert problems_of_error(done, 1, "KafkaUser app cannot be read: status.credential.rotation") == []
    assert "pa55-planted" not in done.stderr


@pytest.mark.parametrize("command", [("describe", "checkout"), ("list",)], ids=" ".join)
def test_a_tenant_that_this_version_cannot_read_is_told_by_field(api: CannedApi, command: tuple[str, ...]) -> None:
    for obj in api.objects["KafkaTenant"]:
        obj["spec"]["topicPrefix"] = ["x"]
    done = kfleet(api, "tenant", *command)
    assert (done.code, "cannot be read: spec.topicPrefix" in done.stderr) == (1, True), done.stderr


def test_a_test_without_a_secret_says_so(api: CannedApi) -> None:
    api.objects["Secret"] = []
    assert problems_of_error(kfleet(api, "user", "test", "app"), 1, "Secret app is not there") == []


def test_a_test_shows_nothing_of_the_secret(api: CannedApi) -> None:
    """A server that nobody listens on: the login fails, and says so in a check."""
    import base64

    settings = {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SASL_PLAINTEXT"} | {
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "app",
        "sasl.password": "pa55-planted",
    }
    data = dict.fromkeys(("username", "password", "sasl.jaas.config", "client.properties"), "pa55-planted")
    data |= {"bootstrap.servers": "127.0.0.1:1", "librdkafka.json": json.dumps(settings)}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    api.objects["Secret"] = [{"metadata": {"name": "app", "namespace": "kafka"}, "data": encoded}]
    done = kfleet(api, "user", "test", "app", "--timeout", "1", "-o", "json")
    assert done.code == 3, done.stderr
    checks = {check["name"]: check["ok"] for check in json.loads(done.stdout)["checks"]}
    assert checks == {"SecretComplete": True, "LoggedIn": False}
    assert "pa55-planted" not in done.stdout + done.stderr


GOOD_SETTINGS = {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SASL_PLAINTEXT"} | {
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "app",
    "sasl.password": "pa55-planted",
}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (GOOD_SETTINGS | {"plugin.library.paths": "/tmp/pa55-planted.so"}, "plugin.library.paths"),
        (GOOD_SETTINGS | {"sasl.username": ["app"]}, "sasl.username"),
        ({"security.protocol": "SASL_PLAINTEXT"}, "bootstrap.servers"),
        ([GOOD_SETTINGS], "no JSON object"),
        (GOOD_SETTINGS | {"security.protocol": "pa55-planted"}, "security.protocol"),
        (GOOD_SETTINGS | {"security.protocol": "SSL", "ssl.ca.pem": "pa55-planted"}, "does not take ssl.ca.pem"),
    ],
    ids=["plugin", "list value", "no servers", "list", "bad value", "bad certificate"],
)
def test_a_test_takes_only_settings_that_the_operator_writes(api: CannedApi, settings: object, says: str) -> None:
    import base64

    keys = ("username", "password", "sasl.jaas.config", "client.properties", "bootstrap.servers")
    data = dict.fromkeys(keys, "pa55-planted") | {"librdkafka.json": json.dumps(settings)}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    api.objects["Secret"] = [{"metadata": {"name": "app", "namespace": "kafka"}, "data": encoded}]
    done = kfleet(api, "user", "test", "app", "--timeout", "1")
    assert problems_of_error(done, 1, says) == []
    assert "pa55-planted" not in done.stdout + done.stderr
