"""Users of a cluster with TLS and ACLs, from their objects to real clients: let in, rotated, kept out. In order."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from support.audit import log_files
from support.cell import Cell, combined_cluster, topic
from support.enrolment import enrol
from support.leaks import key_lines, leaks, places
from support.sandbox import Sandbox
from support.secure_clients import secret
from support.tenant_users import tenant, tenants_user
from support.user_clients import DENIED, Busy, Client, java_offsets, java_quotas
from support.users import rule, user

from controlplane.api.names import SECRETS_ROLE
from controlplane.domain.access.enrolment import NOT_ENROLLED

KFLEET = Path(sys.executable).parent / "kfleet"
VERSION = "4.3.1"
USERS = "kafkausers.kfleet.dev"
SHOP = "e2e-users-shop"
PATIENCE_SECONDS = 60
"""Of clients that must not lose a record, however busy the machine is."""
SEEN: list[str] = []
"""Every password and every line of a key that any Secret had."""


def team(cell: Cell) -> str:
    """The namespace of a tenant."""
    return f"{cell.namespace}-team"


def secure_cluster() -> dict[str, Any]:
    return combined_cluster(
        version=VERSION,
        security={"nodes": "MutualTls"},
        authorization={"type": "Standard"},
        listeners=[
            {"name": "passwords", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}},
            {"name": "certificates", "port": 9094, "tls": True, "authentication": {"type": "tls"}},
            {"name": "outside", "port": 9095, "type": "NodePort", "tls": True}
            | {"authentication": {"type": "scram-sha-512"}},
        ],
    )


def of_user(cell: Cell, name: str) -> dict[str, str]:
    found = secret(cell, name)
    SEEN.extend([*([found["password"]] if "password" in found else []), *key_lines(found.get("user.key", ""))])
    return found


def kfleet(cell: Cell, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What it does is recorded where the operator's ledger is."""
    where = ["--kubeconfig", str(cell.kubeconfig), "-n", cell.namespace]
    return subprocess.run(
        [KFLEET, *arguments, *where],
        env=os.environ | {"KFLEET_LEDGER_URL": cell.operator.settings["KFLEET_LEDGER_URL"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def condition(cell: Cell, name: str, kind: str = "Ready") -> dict[str, str]:
    found = cell.get(USERS, name)
    current = [c for c in found.get("status", {}).get("conditions", []) if c["type"] == kind]
    return next((c for c in current if c["observedGeneration"] == found["metadata"]["generation"]), {})


def wait_ready(cell: Cell, *names: str, reason: str = "AsDeclared") -> None:
    for name in names:

        def ready(name: str = name) -> bool:
            return condition(cell, name).get("reason") == reason

        cell.wait(f"user {name} {reason}", ready, 60)


@pytest.fixture(scope="module", name="ledger")
def ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "ledger.db"


@pytest.fixture(scope="module", autouse=True)
def users(cell: Cell, ledger: Path, sandbox: Sandbox) -> Iterator[None]:
    cell.operator.stop()
    # Neither namespace is enrolled at first.
    sandbox.kubectl("create", "namespace", team(cell))
    cell.kubectl("delete", "rolebinding", SECRETS_ROLE)
    cell.operator.settings["KFLEET_WATCH_NAMESPACES"] = json.dumps([cell.namespace, team(cell)])
    cell.operator.settings["KFLEET_LEDGER_URL"] = f"sqlite:///{ledger}"
    cell.operator.start()
    writes = (rule("orders", "Write"), rule("orders-", "Read", kind="group", patternType="prefixed"))
    cell.apply(
        secure_cluster(),
        topic("orders", partitions=1),
        topic("secrets", partitions=1),
        topic("shop-v1", partitions=3, topicName="shop.orders.v1"),
        user("app", *writes, quotas={"producerByteRate": "10Mi"}),
        user("cert", rule("orders", "Write", "Read"), kind="tls"),
        user("porter", *writes, listener="outside"),
    )
    cell.wait("the refusal to be told", lambda: cell.condition("Ready")["reason"] == NOT_ENROLLED, 60)
    assert cell.kubectl("get", "pods,pvc,secrets", "-o", "name") == ""
    enrol(cell.kubectl, cell.namespace)
    cell.wait_ready(240)
    for name in ("orders", "secrets", "shop-v1"):
        cell.wait_topic(name)
    wait_ready(cell, "app", "cert", "porter")
    yield
    cell.kubectl("delete", USERS, "--all", "--timeout=60s", "-n", team(cell), check=False)
    cell.kubectl("delete", "kafkatenants.kfleet.dev", SHOP, check=False)
    cell.kubectl("delete", "namespace", team(cell), "--wait=false", check=False)


@pytest.mark.parametrize(("name", "offset"), [("app", 1), ("cert", 2), ("porter", 3)])
def test_a_secret_lets_clients_in_as_it_is(cell: Cell, name: str, offset: int, tmp_path: Path) -> None:
    found = of_user(cell, name)
    client = Client(found)
    assert client.produces("orders", "")
    assert client.topics() == {"orders"}, "and no other"
    assert client.produces("secrets", DENIED)
    java = java_offsets(tmp_path, found, "orders", VERSION)
    assert java.stdout.splitlines()[-1:] == [f"orders:0:{offset}"], java.stdout + java.stderr
    shown = cell.get(USERS, name)["status"]
    assert (shown["principal"], shown["binding"]["name"]) == (f"User:{name}", name)


def test_who_has_something_else_is_refused(cell: Cell) -> None:
    app, cert = of_user(cell, "app"), of_user(cell, "cert")
    wrong = json.loads(app["librdkafka.json"]) | {"sasl.password": "x" * 43}
    assert Client({"librdkafka.json": json.dumps(wrong)}).is_refused()
    own = json.loads(cert["librdkafka.json"])
    nameless = {key: own[key] for key in own if key not in ("ssl.certificate.pem", "ssl.key.pem")}
    with pytest.raises(KafkaException):
        Client({"librdkafka.json": json.dumps(nameless)}).topics()


def test_kfleet_logs_in_and_says_what_works(cell: Cell) -> None:
    for name in ("app", "cert"):
        done = kfleet(cell, "user", "test", name, "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        checks = json.loads(done.stdout)["checks"]
        kinds = {check["name"] for check in checks}
        assert kinds >= {"SecretComplete", "LoggedIn", "MayAsDeclared"}
        assert ("CertificateValid" in kinds) == (name == "cert")
        assert any("Write" in check["evidence"] and "as declared (1 asked)" in check["evidence"] for check in checks)
    described = kfleet(cell, "user", "describe", "app")
    assert "Write" in described.stdout
    assert "producer_byte_rate" in described.stdout
    told = leaks([("stdout", described.stdout), ("test", done.stdout), ("stderr", done.stderr)], SEEN)
    assert told == []


def test_a_running_client_works_through_a_rotation(cell: Cell) -> None:
    before = of_user(cell, "app")
    client = Client(before, patience_s=PATIENCE_SECONDS)
    assert client.produces("orders", "")
    with Busy(client, "orders") as busy:
        done = kfleet(cell, "user", "rotate", "app", "--yes")
        assert done.returncode == 0, done.stderr
        after = of_user(cell, "app")
        client.take(after)
        count = busy.acknowledged
        cell.wait("traffic after the rotation", lambda: busy.acknowledged > count + 20)
    assert busy.failed == []
    another = after["password"] != before["password"]
    assert another
    assert Client(after).produces("orders", "")
    assert Client(before).is_refused()


def test_a_password_that_is_old_enough_is_replaced_under_traffic(cell: Cell) -> None:
    def rotate_after(age: str | None) -> None:
        cell.patch({"authentication": {"rotateAfter": age}}, USERS, "porter")

    before = of_user(cell, "porter")
    client = Client(before, patience_s=PATIENCE_SECONDS)
    with Busy(client, "orders") as busy:
        rotate_after("10h")
        wait_ready(cell, "porter")
        stays = of_user(cell, "porter")["password"] == before["password"]
        assert stays, "it is minutes old"
        rotate_after("1m")
        cell.wait("another password", lambda: secret(cell, "porter")["password"] != before["password"], 90)
        rotate_after(None)
        wait_ready(cell, "porter")
        after = of_user(cell, "porter")
        client.take(after)
        count = busy.acknowledged
        cell.wait("traffic after the rotation", lambda: busy.acknowledged > count + 20)
    assert busy.failed == []
    assert Client(after).produces("orders", "")
    assert Client(before).is_refused()


def test_another_certificate_is_made_when_asked(cell: Cell) -> None:
    before = of_user(cell, "cert")
    with Busy(Client(before, patience_s=PATIENCE_SECONDS), "orders") as busy:
        done = kfleet(cell, "user", "rotate", "cert", "--yes")
        assert done.returncode == 0, done.stderr
        after = of_user(cell, "cert")
        another = after["user.crt"] != before["user.crt"]
        assert another
        assert Client(after).produces("orders", "")
    assert busy.failed == []


def test_a_secret_that_is_deleted_comes_back_with_another_password(cell: Cell) -> None:
    before = of_user(cell, "app")
    cell.kubectl("delete", "secret", "app")

    def there() -> bool:
        return "secret/app" in cell.kubectl("get", "secrets", "-o", "name")

    cell.wait("the Secret", there, 30)
    wait_ready(cell, "app")
    after = of_user(cell, "app")
    another = after["password"] != before["password"]
    assert another
    assert Client(after).produces("orders", "")
    # Events are written last, after the status: the credentials work a moment before.
    cell.wait("an Event of it", lambda: "CredentialsReplaced" in {event["reason"] for event in cell.events()}, 60)


def test_what_others_change_in_kafka_is_put_back(cell: Cell) -> None:
    """By a client that is a super user: the operator's own certificate."""
    from confluent_kafka.admin import (
        AclBindingFilter,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )
    from support.secure_clients import admin, mutual

    own, address = secret(cell, "cell-operator-tls"), cell.pods()[0]["status"]["podIP"]
    client = admin(f"{address}:9091", mutual(own["ca.crt"], own["tls.crt"], own["tls.key"]))
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, "User:app", None, AclOperation.ANY, AclPermissionType.ANY
    )
    (removed,) = [future.result(30) for future in client.delete_acls([everything]).values()]
    assert len(removed) == 2
    cell.wait("the rules back", lambda: len(client.describe_acls(everything).result(30)) == 2, 30)
    assert Client(of_user(cell, "app")).produces("orders", "")


def test_a_tenants_users_share_its_quotas_and_keep_to_its_names(cell: Cell, tmp_path: Path) -> None:
    """Beside the cell, in a namespace of the tenant: topics that begin with its prefix are there already."""
    here = {"namespace": cell.namespace, "name": cell.name}
    quotas = {"produceBytesPerSecond": "12Mi", "requestPercentage": 50}
    own = rule("shop.", "Read", "Write", patternType="prefixed")
    cell.apply(tenant(SHOP, team(cell), topicPrefix="shop.", cells=[here], quotas=quotas))
    others = user("nosy", rule("*", "Read"))
    mine = [
        tenants_user("shop-app", own, of=SHOP, quotas={"producerByteRate": "1Mi"}),
        tenants_user("shop-job", own, of=SHOP),
        tenants_user("shop-bad", own, rule("orders", "Read"), of=SHOP),
    ]
    for obj in mine:
        obj["metadata"]["namespace"] = team(cell)
    cell.kubectl(
        "apply", "-n", team(cell), "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": mine})
    )
    cell.apply(others)
    wait_ready(cell, "nosy", reason="ForeignPrefix")
    assert "spec.authorization.acls[0].resource.name: '*'" in condition(cell, "nosy")["message"]
    beside = replace(cell, namespace=team(cell))
    wait_ready(beside, "shop-app", "shop-job", reason=NOT_ENROLLED)
    assert beside.kubectl("get", "secrets", "-o", "name") == ""
    enrol(beside.kubectl, beside.namespace)
    wait_ready(beside, "shop-app", "shop-job")
    wait_ready(beside, "shop-bad", reason="ForeignPrefix")
    assert "acls[1].resource.name: 'orders' does not begin with 'shop.'" in condition(beside, "shop-bad")["message"]
    secrets = beside.kubectl("get", "secrets", "-o", "name").split()
    assert (secrets, "secret/nosy" in cell.kubectl("get", "secrets", "-o", "name")) == (
        ["secret/shop-app", "secret/shop-job"],
        False,
    )
    client = Client(of_user(beside, "shop-app"))
    assert client.produces("shop.orders.v1", "")
    assert client.topics() == {"shop.orders.v1"}, "and no other"
    assert client.produces("secrets", DENIED)
    operator, address = secret(cell, "cell-operator-tls"), cell.pods()[0]["status"]["podIP"]
    found = {
        name: java_quotas(tmp_path, f"{address}:9091", operator, name, VERSION) for name in ("shop-app", "shop-job")
    }
    assert found == {
        "shop-app": {"producer_byte_rate": 2.0**20, "request_percentage": 25.0},
        "shop-job": {"producer_byte_rate": 2 * 2.0**20, "request_percentage": 25.0},
    }, "three brokers lead, two users share"
    shown = kfleet(beside, "user", "describe", "shop-app").stdout
    assert "divided by 2 users, byte rates also by 3 brokers" in shown
    assert re.search(r"producer_byte_rate +1048576 +declared +1048576 +2097152", shown), shown


def test_a_namespace_that_is_enrolled_no_more_keeps_its_users(cell: Cell) -> None:
    beside = replace(cell, namespace=team(cell))
    app, job = (of_user(beside, name) for name in ("shop-app", "shop-job"))
    client = Client(job)
    assert client.produces("shop.orders.v1", "")
    beside.kubectl("delete", "rolebinding", SECRETS_ROLE)
    wait_ready(beside, "shop-app", "shop-job", reason=NOT_ENROLLED)
    assert Client(app).produces("shop.orders.v1", ""), "a new connection with what the Secret has"
    assert secret(beside, "shop-app") == app
    assert beside.get(USERS, "shop-app")["status"]["binding"] == {"name": "shop-app"}
    beside.kubectl("delete", USERS, "shop-job", "--timeout=60s")
    assert client.produces("shop.orders.v1", DENIED), "on the connection that was open"
    assert Client(job).is_refused()
    (told,) = [event for event in beside.events() if event["reason"] == "SecretLeft"]
    assert "Secret shop-job stays" in told["message"]
    gone = "Kubernetes to delete what belonged to it"
    beside.wait(gone, lambda: "secret/shop-job" not in beside.kubectl("get", "secrets", "-o", "name"), 60)
    enrol(beside.kubectl, beside.namespace)
    wait_ready(beside, "shop-app")
    assert secret(beside, "shop-app") == app, "nothing had to be made anew"


@pytest.mark.parametrize("name", ["app", "porter"])
def test_a_revoked_user_is_refused_on_the_connection_that_is_open(cell: Cell, name: str) -> None:
    found = of_user(cell, name)
    client = Client(found)
    assert client.produces("orders", "")
    nobody = kfleet(cell, "user", "revoke", name)
    assert (nobody.returncode, f"--confirm {name}" in nobody.stderr) == (2, True)
    done = kfleet(cell, "user", "revoke", name, "--confirm", name, "--reason", "seen in a log")
    assert done.returncode == 0, done.stderr
    assert client.produces("orders", DENIED), "long before it has to prove itself again"
    assert Client(found).is_refused()
    assert condition(cell, name, "CredentialsCurrent")["reason"] == "Revoked"
    test = kfleet(cell, "user", "test", name)
    assert (test.returncode, "has no credentials" in test.stderr) == (1, True)


def test_a_deleted_user_is_refused_and_its_object_goes(cell: Cell) -> None:
    client = Client(of_user(cell, "cert"))
    assert client.produces("orders", "")
    cell.kubectl("delete", USERS, "cert", "--timeout=60s")
    assert client.produces("orders", DENIED)
    assert "secret/cert" not in cell.kubectl("get", "secrets", "-o", "name")
    cell.apply(user("cert", rule("orders", "Write"), kind="tls"))
    wait_ready(cell, "cert", reason="CertificateStillValid")
    assert client.produces("orders", DENIED), "the certificate that is still about lets nobody in"


def test_no_password_and_no_key_is_anywhere_but_in_secrets(cell: Cell, ledger: Path, sandbox: Sandbox) -> None:
    known = len(SEEN)
    assert known > 10
    files = sorted(ledger.parent.iterdir())
    told = any(b"user revoke" in file.read_bytes() for file in files)
    assert told, "it was told what was done"
    seen = list(places(cell, [*files, *log_files(sandbox.paths.audit_log)]))
    body = base64.b64encode(f"sasl.password={SEEN[0]}".encode()).decode()
    # What pytest shows of a failed call are its arguments.
    found, control = (
        leaks(seen, SEEN),
        leaks([*seen, ("planted", f"--password={SEEN[0]}"), ("in base64", body)], SEEN),
    )
    assert found == []
    assert control == ["planted", "in base64"], "the control"
