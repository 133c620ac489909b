"""Users' values: what is refused, what files hold, and what no character gets out of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from support import user_refusals
from support.refusals import Refusal, changed

from controlplane.adapters.passwords import RandomPasswords
from controlplane.api.kafka_user import OPERATIONS, AclRule, KafkaUser, Quotas
from controlplane.api.validate import explain, problems_of
from controlplane.api.validate_user import check_user
from controlplane.domain.users import acls, quotas, secret
from controlplane.domain.users.credentials import Stored, is_acceptable, is_usable, iterations
from controlplane.domain.users.values import Acl

EVIL = 'a"b\\c\nsuper.users=User:a\r#x=y:z !\t${env:HOME}\u00e4;'


def problems(obj: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        return check_user(KafkaUser.model_validate(obj))
    except ValidationError as error:
        return problems_of(error)


@pytest.mark.parametrize("case", user_refusals.USER, ids=lambda case: case.name)
def test_what_admission_refuses_of_a_user_the_operator_refuses(case: Refusal) -> None:
    found = problems(changed(user_refusals.user(), case.changes))
    assert found
    assert case.path.split("[")[0].removeprefix("metadata.") in explain(found)


@pytest.mark.parametrize("changes", [{}, *user_refusals.TAKEN], ids=str)
def test_a_user_that_nothing_is_wrong_with(changes: dict[str, Any]) -> None:
    assert problems(changed(user_refusals.user(), changes)) == []


def test_rules_become_one_binding_an_operation() -> None:
    rule = AclRule.model_validate(
        {"resource": {"type": "topic", "name": "a.", "patternType": "prefixed"}, "operations": ["Read", "Write"]}
    )
    cluster = AclRule.model_validate({"resource": {"type": "cluster"}, "operations": ["Describe"], "host": "::1"})
    assert acls.declared("User:a", [rule, cluster]) == {
        Acl("User:a", "topic", "a.", "prefixed", "Read", "allow"),
        Acl("User:a", "topic", "a.", "prefixed", "Write", "allow"),
        Acl("User:a", "cluster", "kafka-cluster", "literal", "Describe", "allow", "0:0:0:0:0:0:0:1"),
    }
    assert set(OPERATIONS) == {"topic", "group", "transactionalId", "cluster"}


@pytest.mark.parametrize(
    ("host", "java"),
    [("*", "*"), ("10.0.0.7", "10.0.0.7"), ("fe80::0a:B", "fe80:0:0:0:0:0:a:b"), ("::", "0:0:0:0:0:0:0:0")],
)
def test_a_host_is_spelled_as_java_prints_it(host: str, java: str) -> None:
    assert acls.kafka_host(host) == java


def test_a_record_that_cannot_be_read_is_left_out() -> None:
    assert acls.from_texts("User:a", ["nonsense", "allow topic literal a *"]) == frozenset()
    assert quotas.from_texts({"producer_byte_rate": "many"}) == {"producer_byte_rate": 0.0}


def test_quotas_as_kafka_takes_them() -> None:
    declared = quotas.declared(Quotas(producer_byte_rate="1Mi", consumer_byte_rate="1500m", request_percentage="12.5"))
    assert declared.values == {"producer_byte_rate": 1048576.0, "consumer_byte_rate": 2.0, "request_percentage": 12.5}


def test_a_runbooks_layer_is_taken_away_again() -> None:
    declared, shed = (
        quotas.Layer("declared", {"producer_byte_rate": 10.0}),
        quotas.Layer("shed", {"producer_byte_rate": 2.0, "request_percentage": 5.0}),
    )
    shedding = quotas.effective([declared, shed])
    plan = quotas.plan_quotas(quotas.effective([declared]), shedding, dict(shedding), exclusive=False)
    assert plan.changes == {"producer_byte_rate": 10.0, "request_percentage": None}
    assert plan.drifted == ()


def test_new_passwords_are_long_and_misread_by_nothing() -> None:
    passwords = [RandomPasswords().new() for _ in range(100)]
    assert len({password.get_secret_value() for password in passwords}) == 100
    assert all(is_acceptable(password) for password in passwords)
    for bad in (None, "", "a" * 31, "a" * 129, "a" * 40 + "\n", 'a"' * 20, "ä" * 40):
        assert not is_acceptable(None if bad is None else SecretStr(bad)), bad


def test_a_new_password_with_the_same_fingerprint_is_not_used() -> None:
    old = SecretStr("a" * 40)
    twin = next(
        password
        for number in range(10**6)
        if iterations("u", password := SecretStr(f"{number:040}")) == iterations("u", old)
    )
    assert not is_usable("u", twin, Stored(old))
    assert not is_usable("u", twin, Stored(None, old))
    assert is_usable("u", twin, Stored(SecretStr("b" * 40)))


def java_properties(text: str) -> dict[str, str]:
    """java.util.Properties.load, as its documentation has it, for files without continued lines."""
    found = {}
    for line in text.splitlines():
        assert line
        assert line[0] not in "#!", "a comment"
        parts: list[str] = []
        current, raw = "", iter(line)
        for character in raw:
            if character == "\\":
                escaped = next(raw)
                current += {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}.get(escaped, escaped)
            elif character in "=: \t" and not parts:
                parts.append(current)
                current = ""
            else:
                current += character
        found[parts[0]] = current
    return found


def test_no_value_gets_out_of_its_line() -> None:
    """Were there ever a name or a password with such characters (there is none: see above)."""
    contents = secret.contents(
        secret.Login([f"{EVIL}:9092"], ca=EVIL), secret.Identity(EVIL, password=SecretStr(f"p{EVIL}"))
    )
    java = java_properties(contents["client.properties"])
    assert java.keys() == {
        "bootstrap.servers",
        "security.protocol",
        "sasl.mechanism",
        "sasl.jaas.config",
        "ssl.truststore.type",
        "ssl.truststore.certificates",
    }
    assert java["sasl.jaas.config"] == contents["sasl.jaas.config"]
    assert java["ssl.truststore.certificates"] == EVIL
    assert "\n" not in contents["sasl.jaas.config"]
    assert jaas_options(contents["sasl.jaas.config"]) == {"username": EVIL, "password": f"p{EVIL}"}
    assert json.loads(contents["librdkafka.json"])["sasl.username"] == EVIL


def jaas_options(line: str) -> dict[str, str]:
    """As java.io.StreamTokenizer reads quoted words."""
    assert line.endswith(";")
    found, key, rest = {}, "", iter(line[:-1].split(" required ", 1)[1])
    for character in rest:
        if character != '"':
            key += character
            continue
        value = ""
        for inner in rest:
            if inner == '"':
                break
            if inner == "\\":
                escaped = next(rest)
                value += {"n": "\n", "r": "\r", "t": "\t"}.get(escaped, escaped)
            else:
                value += inner
        found[key.strip().removesuffix("=")] = value
        key = ""
    return found


def test_what_a_certificates_user_mounts() -> None:
    contents = secret.contents(secret.Login(["b:9094"], ca="CA\n"), secret.Identity("u", certificate="C\n", key="K\n"))
    assert "password" not in contents
    java = java_properties(contents["client.properties"])
    assert (java["ssl.keystore.key"], java["ssl.keystore.certificate.chain"]) == ("K\n", "C\n")
    assert json.loads(contents["librdkafka.json"])["ssl.certificate.pem"] == "C\n"
    assert "K\n" not in repr(secret.Identity("u", certificate="C\n", key="K\n"))


@pytest.mark.parametrize("ca", [None, "PEM"])
@pytest.mark.parametrize(
    "identity",
    [secret.Identity("app", SecretStr("p" * 40)), secret.Identity("app", certificate="C", key="K")],
    ids=["password", "certificate"],
)
def test_settings_that_are_written_are_read(identity: secret.Identity, ca: str | None) -> None:
    text = secret.contents(secret.Login(["a:1", "b:1"], ca), identity)[secret.LIBRDKAFKA]
    assert secret.read_librdkafka(text) == json.loads(text)
