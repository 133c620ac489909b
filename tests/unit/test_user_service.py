"""UserService on fakes: credentials, rules and quotas come about in a safe order, and drift is put back."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from pydantic import SecretStr
from support.simulation import DieAt, Killed
from support.users import (
    DENIALS,
    KEY,
    SERVERS,
    SESSIONS_END,
    put_authority,
    put_secret,
    rule,
    user,
    user_space,
)

from controlplane.domain.users.credentials import iterations
from controlplane.domain.users.values import Acl, ScramPassword
from controlplane.services.keys import users_key
from controlplane.services.users.service import KAFKA_USERS


async def test_a_user_gets_credentials_rules_and_quotas() -> None:
    space = await user_space()
    quotas = {"producerByteRate": "1Mi", "requestPercentage": "12.5"}
    await space.declare_users(user("app", rule("orders", "Read", "Describe"), quotas=quotas))
    assert await space.passes() is not None
    assert (await space.condition("app"))["reason"] == "AsDeclared"
    assert (await space.condition("app", "CredentialsCurrent"))["status"] == "True"
    secret, (password,) = await space.secret("app"), space.passwords.made
    assert (secret["username"], secret["password"]) == ("app", password)
    assert space.password_in_kafka("app") == password
    assert space.acls("app") == {"allow Read on topic orders", "allow Describe on topic orders"}
    assert space.kafka.quotas["app"] == {"producer_byte_rate": 1048576.0, "request_percentage": 12.5}
    status = (await space.user("app"))["status"]
    assert (status["principal"], status["binding"]) == ("User:app", {"name": "app"})
    assert status["quotas"] == {"producer_byte_rate": "1048576", "request_percentage": "12.5"}
    assert "kfleet.dev/user" in (await space.user("app"))["metadata"]["finalizers"]


async def test_a_user_as_declared_is_left_alone() -> None:
    space = await user_space()
    await space.declare_users(*(user(f"u{number}", rule()) for number in range(20)))
    first = DieAt()
    await space.passes(die=first)
    kafka = [call for call in first.calls if call.startswith("kafka ")]
    assert kafka == ["kafka upsert_scram", "kafka create_acls"], "in bulk"
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []


async def test_the_secret_is_what_clients_mount() -> None:
    space = await user_space()
    await space.declare_users(user("app"), user("cert", kind="tls"))
    await space.passes()
    scram, tls = await space.secret("app"), await space.secret("cert")
    assert scram["bootstrap.servers"] == ",".join(SERVERS)
    assert scram["security.protocol"] == "SASL_SSL"
    assert f'username="app" password="{space.passwords.made[0]}";' in scram["sasl.jaas.config"]
    java = dict(line.split("=", 1) for line in scram["client.properties"].splitlines())
    assert java["sasl.jaas.config"].startswith("org.apache.kafka.common.security.scram.ScramLoginModule required ")
    assert java["ssl.truststore.certificates"].startswith("-----BEGIN CERTIFICATE-----\\n")
    assert json.loads(scram["librdkafka.json"])["sasl.password"] == scram["password"]
    assert json.loads(tls["librdkafka.json"])["ssl.key.pem"] == tls["user.key"]
    assert tls["security.protocol"] == "SSL"
    assert space.pki.read(tls["user.crt"])[0].subject == "CN=cert"
    meta = space.kube.objects[("secrets", "kafka", "app")]["metadata"]
    assert meta["ownerReferences"][0]["name"] == "app"


async def test_drift_is_put_back_and_counted() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    await space.passes()
    space.kafka.acls.clear()
    space.kafka.quotas["app"] = {"consumer_byte_rate": 99.0}
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("somebody else's"), 4096)
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.kafka.quotas["app"] == {"consumer_byte_rate": 5.0}
    assert space.password_in_kafka("app") == space.passwords.made[0]
    assert (await space.user("app"))["status"]["drift"]["corrected"] == 3
    assert "DriftCorrected" in space.events()


async def test_the_count_of_corrections_moves_every_five_minutes_at_most() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")))
    await space.passes()
    one = space.service()
    for expected, wait in ((1, 1), (1, 60), (1, 60), (4, 300)):
        space.kafka.acls.clear()
        space.clock.seconds += wait
        await one.reconcile(KEY)
        assert (await space.user("app"))["status"]["drift"]["corrected"] == expected


async def test_a_rule_no_longer_declared_is_removed_and_a_foreign_one_stays() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), rule("orders", "Write")))
    await space.passes()
    foreign = Acl("User:app", "topic", "theirs", "literal", "Read", "allow")
    space.kafka.acls |= {foreign, replace(foreign, principal="User:other")}
    space.kafka.quotas["app"] = {"request_percentage": 3.0}
    await space.respec("app", authorization={"acls": [rule("orders", "Read")]})
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders", "allow Read on topic theirs"}
    shown = (await space.user("app"))["status"]["foreign"]
    assert shown == {"acls": 1, "shown": ["allow Read on topic theirs"], "quotas": ["request_percentage"]}
    await space.respec("app", exclusive=True)
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert "app" not in space.kafka.quotas
    assert space.acls("other") == {"allow Read on topic theirs"}, "another principal's is not ours to remove"
    assert "foreign" not in (await space.user("app"))["status"]


async def test_a_password_is_rotated_when_asked_and_by_age() -> None:
    space = await user_space()
    await space.declare_users(user("app", authentication={"rotateAfter": "1h"}))
    await space.passes()
    await space.annotate("app", rotate_at="now")
    await space.passes()
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app") == space.passwords.made[1]
    assert ".next-password" not in await space.secret("app")
    assert (await space.user("app"))["status"]["credential"]["rotation"] == "now"
    await space.passes(3)
    assert len(space.passwords.made) == 2, "once"
    space.clock.seconds += 3600
    await space.passes()
    assert space.password_in_kafka("app") == space.passwords.made[2]
    assert await space.passes() == pytest.approx(SETTINGS_RESYNC)


@pytest.mark.parametrize("trouble", ["times out", "is refused", "the Secret moves", "is spoiled"])
async def test_a_rotation_is_told_of_when_it_is_done_and_not_before(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.fake_kafka import FakeKafkaAdmin
    from support.fake_kube import FakeKube

    from controlplane.ports import ConflictError, KafkaError, Object, Resource

    space = await user_space()
    await space.declare_users(user("app"))
    await space.passes()
    before = (await space.user("app"))["status"]["credential"]

    async def fail(self: FakeKafkaAdmin, passwords: list[ScramPassword]) -> dict[str, KafkaError | None]:
        error = KafkaError("REQUEST_TIMED_OUT", "no answer", retriable=True)
        if trouble == "times out":
            raise error
        return {one.user: error for one in passwords}

    patch = FakeKube.patch

    async def move(
        self: FakeKube, resource: Resource, name: str, namespace: str | None, body: Object, **more: str
    ) -> Object:
        if body.get("data", {}).get(".next-password", "") is None:
            raise ConflictError(409, "Conflict", "it moved")
        return await patch(self, resource, name, namespace, body, **more)

    with monkeypatch.context() as broken:
        if trouble == "the Secret moves":
            broken.setattr(FakeKube, "patch", move)
        else:
            broken.setattr(FakeKafkaAdmin, "upsert_scram", fail)
        await space.annotate("app", rotate_at="now")
        await space.passes(2)
    assert ".next-password" in await space.secret("app"), "begun"
    assert (await space.user("app"))["status"]["credential"] == before
    if trouble == "is spoiled":
        await space.edit_secret("app", **{".next-password": "nothing that could be one"})
    await space.passes(2)
    credential = (await space.user("app"))["status"]["credential"]
    assert (credential["rotation"], credential["issuedAt"] > before["issuedAt"]) == ("now", True)
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app") != space.passwords.made[0]


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_a_time_to_come_puts_no_rotation_off(kind: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", kind=kind, authentication={"rotateAfter": "1h"}))
    await space.passes()
    before, told = await space.secret("app"), (await space.user("app"))["status"]["credential"]
    marks = space.kube.objects[("secrets", "kafka", "app")]["metadata"]
    marks["annotations"] = marks["annotations"] | {"kfleet.dev/issued-at": "2099-01-01T00:00:00Z"}
    await space.passes()
    assert (await space.secret("app"), (await space.user("app"))["status"]["credential"]) == (before, told)
    marks = space.kube.objects[("secrets", "kafka", "app")]["metadata"]
    assert marks["annotations"]["kfleet.dev/issued-at"] == told["issuedAt"]
    assert "SecretUpdated" in space.events()
    space.clock.seconds += 3600
    await space.passes()
    assert await space.secret("app") != before


SETTINGS_RESYNC = 30.0


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 7))
async def test_killed_anywhere_in_a_rotation_somebody_always_knows_the_password(number: int, phase: str) -> None:
    space = await user_space()
    await space.declare_users(user("app"))
    await space.passes()
    await space.annotate("app", rotate_at="1")
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=DieAt(number, phase))
    secret = await space.secret("app")
    assert space.password_in_kafka("app") in {secret["password"], secret.get(".next-password")}
    await space.passes(2)
    secret = await space.secret("app")
    assert secret["password"] == space.password_in_kafka("app")
    assert secret["password"] != space.passwords.made[0]
    assert ".next-password" not in secret
    assert (await space.condition("app"))["status"] == "True"


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 10))
async def test_killed_anywhere_at_first_nothing_is_left_that_nobody_knows_of(number: int, phase: str) -> None:
    """Declared, killed somewhere on the way, deleted: whatever was made is gone or denied."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=DieAt(number, phase))
    await space.delete("app")
    await space.passes(3)
    assert not space.has_user("app")
    assert "app" not in space.kafka.scram
    assert "app" not in space.kafka.quotas
    assert space.acls("app") <= DENIALS


async def test_a_deleted_user_is_denied_first_and_then_forgotten() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    await space.passes()
    await space.delete("app")
    die = DieAt()
    await space.passes(die=die)
    kafka = [call for call in die.calls if call.startswith("kafka ")]
    assert kafka == [f"kafka {call}" for call in ("create_acls", "delete_scram", "delete_acls", "alter_user_quotas")]
    assert not space.has_user("app")
    assert space.acls("app") == DENIALS
    assert space.kafka.scram == {}
    assert space.kafka.quotas == {}
    await space.declare_users(user("app", rule("orders", "Read")))
    space.clock.seconds += SESSIONS_END
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}, "declared anew it is let in"
    assert (await space.condition("app"))["status"] == "True"


async def test_a_revoked_user_is_out_until_the_annotation_goes_and_has_another_password_then() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")))
    await space.passes()
    await space.annotate("app", revoked="leaked", paused="true")
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders", *DENIALS}
    assert space.kafka.scram == {}
    assert not space.has_secret("app")
    for kind in ("Ready", "CredentialsCurrent"):
        condition = await space.condition("app", kind)
        assert (condition["status"], condition["reason"]) == ("False", "Revoked")
    assert "binding" not in (await space.user("app"))["status"]
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []
    await space.annotate("app", revoked=None, paused=None)
    space.clock.seconds += SESSIONS_END
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    first, second = space.passwords.made
    assert space.password_in_kafka("app") == second != first
    assert (await space.condition("app"))["status"] == "True"


async def test_a_revoked_certificate_stays_out_until_it_has_expired() -> None:
    space = await user_space()
    await space.declare_users(user("cert", rule("orders", "Read"), kind="tls"))
    await space.passes()
    await space.annotate("cert", revoked="leaked")
    await space.passes()
    await space.annotate("cert", revoked=None)
    await space.passes()
    assert (await space.condition("cert"))["reason"] == "CertificateStillValid"
    assert space.acls("cert") >= DENIALS
    assert not space.has_secret("cert")
    space.clock.seconds += 91 * 86_400
    await space.passes()
    assert space.acls("cert") == {"allow Read on topic orders"}
    await space.delete("cert")
    await space.passes()
    await space.declare_users(user("cert", kind="tls"))
    await space.passes()
    assert (await space.condition("cert"))["reason"] == "CertificateStillValid", "a new object knows of none"


async def test_a_secret_edited_or_deleted_by_hand_is_restored() -> None:
    space = await user_space()
    await space.declare_users(user("app"))
    await space.passes()
    before = await space.secret("app")
    await space.edit_secret("app", **{"sasl.jaas.config": "evil", "client.properties": None, "theirs": "kept"})
    await space.passes()
    assert await space.secret("app") == before | {"theirs": "kept"}
    await space.edit_secret("app", password="short")
    await space.passes()
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app") == space.passwords.made[1]
    del space.kube.objects[("secrets", "kafka", "app")]
    await space.passes()
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app") == space.passwords.made[2]
    assert {"SecretUpdated", "CredentialsReplaced"} <= set(space.events())
    assert (await space.user("app"))["status"]["drift"]["corrected"] == 1


async def test_a_long_password_put_into_the_secret_is_taken() -> None:
    space = await user_space()
    await space.declare_users(user("app"))
    await space.passes()
    await space.edit_secret("app", password="a-password-that-was-carried-over-from-before")
    await space.passes()
    assert space.password_in_kafka("app") == "a-password-that-was-carried-over-from-before"
    assert "carried-over" in (await space.secret("app"))["sasl.jaas.config"]


@pytest.mark.parametrize("broken", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_certificate_that_cannot_be_used_is_made_anew(broken: str) -> None:
    space = await user_space()
    await space.declare_users(user("cert", kind="tls"))
    await space.passes()
    before = await space.secret("cert")
    await space.edit_secret("cert", **{"user.crt": broken})
    await space.passes()
    after = await space.secret("cert")
    assert after["user.key"] != before["user.key"]
    assert space.pki.read(after["user.crt"])[0].subject == "CN=cert"


async def test_certificates_follow_the_authority_and_the_calendar() -> None:
    space = await user_space()
    await space.declare_users(user("cert", kind="tls"))
    await space.passes()

    async def serial() -> str:
        return space.pki.read((await space.secret("cert"))["user.crt"])[0].fingerprint

    first = await serial()
    await space.passes()
    assert await serial() == first
    space.clock.seconds += 61 * 86_400
    await space.passes()
    renewed = await serial()
    assert renewed != first
    await put_authority(space, space.pki.make_authority("cell another clients CA", 86_400 * 365))
    await space.passes()
    reissued = await serial()
    assert reissued != renewed
    await space.annotate("cert", rotate_at="1")
    await space.passes(2)
    assert await serial() != reissued
    assert space.events().count("CredentialsRotated") == 3


async def test_a_missing_authority_key_is_told_and_hurts_nobody_who_has_a_certificate() -> None:
    space = await user_space()
    await space.declare_users(user("old", kind="tls"))
    await space.passes()
    await put_secret(space, "cell-clients-ca-key", {"ca.crt": "x"})
    await space.declare_users(user("new", rule(), kind="tls"))
    await space.passes()
    assert (await space.condition("old"))["status"] == "True"
    condition = await space.condition("new", "CredentialsCurrent")
    assert (condition["status"], condition["reason"]) == ("False", "AuthorityMissing")
    assert "spec.authentication.type: Secret 'cell-clients-ca-key' has no ca.key" in condition["message"]


async def test_a_secret_of_anybody_else_is_not_touched() -> None:
    space = await user_space()
    await put_secret(space, "app", {"password": "theirs"})
    await space.declare_users(user("app"), user("fine"))
    await space.passes()
    condition = await space.condition("app")
    assert condition["reason"] == "SecretTaken"
    assert condition["message"].startswith("spec.secretName: ")
    assert await space.secret("app") == {"password": "theirs"}
    assert (await space.condition("fine"))["status"] == "True"
    await space.annotate("app", revoked="1")
    await space.passes()
    assert await space.secret("app") == {"password": "theirs"}


async def test_a_password_of_anybody_else_is_not_changed_unless_asked() -> None:
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    await space.declare_users(user("app"))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "CredentialExists"
    assert space.password_in_kafka("app") == "theirs"
    assert not space.has_secret("app")
    await space.respec("app", exclusive=True)
    await space.passes()
    assert space.password_in_kafka("app") == space.passwords.made[0]


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_a_request_that_is_taken_back_is_none(kind: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", kind=kind))
    await space.passes()
    await space.annotate("app", rotate_at="1")
    await space.passes(2)
    before = await space.secret("app")
    await space.annotate("app", rotate_at=None)
    await space.passes(3)
    assert await space.secret("app") == before
    await space.annotate("app", rotate_at="2")
    await space.passes(2)
    assert await space.secret("app") != before


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_credentials_are_left_for_a_minute_whatever_is_declared(kind: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", kind=kind, authentication={"rotateAfter": "0s"}))
    await space.passes()
    before = await space.secret("app")
    await space.passes(3)
    assert await space.secret("app") == before
    space.clock.seconds += 60
    await space.passes()
    assert await space.secret("app") != before


@pytest.mark.parametrize("before", [[], ["kfleet.dev/user"]], ids=["at first", "with a finalizer"])
@pytest.mark.parametrize("out", ["deleted", "revoked"])
async def test_who_was_refused_for_anothers_password_does_nothing_to_them(out: str, before: list[str]) -> None:
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    space.kafka.acls.add(Acl("User:app", "topic", "theirs", "literal", "Read", "allow"))
    space.kafka.quotas["app"] = {"consumer_byte_rate": 7.0}
    obj = user("app", rule("orders", "Read"), rule("theirs", "Read", type="deny"), quotas={"consumerByteRate": "5"})
    obj["metadata"]["finalizers"] = before
    await space.declare_users(obj, user("fine", rule()))
    await space.passes(2)
    for kind in ("Ready", "CredentialsCurrent"):
        assert (await space.condition("app", kind))["reason"] == "CredentialExists"
    await (space.delete("app") if out == "deleted" else space.annotate("app", revoked="1"))
    await space.passes(2)
    assert space.has_user("app") == (out == "revoked")
    assert space.password_in_kafka("app") == "theirs"
    assert space.acls("app") == {"allow Read on topic theirs"}
    assert space.kafka.quotas["app"] == {"consumer_byte_rate": 7.0}
    assert (await space.condition("fine"))["status"] == "True"


async def test_what_was_made_beside_anothers_password_goes_with_the_object() -> None:
    """An earlier operator made rules for a user that it refused."""
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    theirs, ours = (Acl("User:app", "topic", name, "literal", "Read", "allow") for name in ("theirs", "orders"))
    space.kafka.acls |= {theirs, ours}
    space.kafka.quotas["app"] = {"consumer_byte_rate": 5.0, "producer_byte_rate": 7.0}
    obj = user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"})
    obj["metadata"]["finalizers"] = ["kfleet.dev/user"]
    obj["status"] = {"acls": ["allow topic literal orders * Read"], "quotas": {"consumer_byte_rate": "5"}}
    await space.declare_users(obj)
    space.kube.objects[("kafkausers", "kafka", "app")]["status"] = obj["status"]
    await space.delete("app")
    await space.passes(2)
    assert not space.has_user("app")
    assert space.acls("app") == {"allow Read on topic theirs"}
    assert space.kafka.quotas["app"] == {"producer_byte_rate": 7.0}
    assert space.password_in_kafka("app") == "theirs"


@pytest.mark.parametrize("out", ["deleted", "revoked"])
async def test_while_what_no_acl_is_about_is_let_through_nobody_is_denied(out: str) -> None:
    """A denial of everything is an ACL on everything, which closes it to all who have none."""
    space = await user_space()
    space.stage("Allow")
    await space.declare_users(user("app", rule("orders", "Read")), user("cert", kind="tls"))
    await space.passes()
    for name in ("app", "cert"):
        await (space.delete(name) if out == "deleted" else space.annotate(name, revoked="1"))
    await space.passes()
    assert "app" not in space.kafka.scram
    assert not space.has_secret("app")
    assert [acl for acl in space.kafka.acls if acl.permission == "deny"] == []
    assert space.has_user("app") == space.has_user("cert") == (out == "revoked")
    if out == "revoked":
        assert (await space.condition("app"))["reason"] == "Revoked"
        condition = await space.condition("cert")
        assert (condition["reason"], "whenNoAcl" in condition["message"]) == ("DenialImpossible", True)
        space.stage("Deny")
        await space.passes()
        assert space.acls("cert") == DENIALS
        assert (await space.condition("cert"))["reason"] == "Revoked"


async def test_denials_are_lifted_when_what_no_acl_is_about_is_let_through() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")), user("cert", kind="tls"))
    await space.passes()
    for name in ("app", "cert"):
        await space.annotate(name, revoked="1")
    await space.passes()
    assert space.acls("cert") == DENIALS
    space.stage("Allow")
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.acls("cert") == set()
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []


async def test_the_oldest_object_has_the_principal_and_the_younger_ones_deletion_takes_nothing() -> None:
    space = await user_space()
    young = user("young", rule("theirs", "Write"), userName="app")
    young["metadata"]["creationTimestamp"] = "2027-01-01T00:00:00Z"
    await space.declare_users(user("old", rule("orders", "Read"), userName="app"), young)
    await space.passes()
    assert (await space.condition("old"))["status"] == "True"
    condition = await space.condition("young")
    assert (condition["reason"], "belongs to old" in condition["message"]) == ("PrincipalTaken", True)
    assert not space.has_secret("young")
    await space.delete("young")
    await space.passes()
    assert not space.has_user("young")
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_a_user_that_was_let_in_by_an_older_schema_is_refused_and_let_go() -> None:
    space = await user_space()
    await space.declare_users(user("app", userName="ANONYMOUS"), user("prefix", rule("*", patternType="prefixed")))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "InvalidSpec"
    assert "spec.authorization.acls[0].resource.name" in (await space.condition("prefix"))["message"]
    assert (space.kafka.scram, space.kafka.acls) == ({}, set())
    await space.delete("app")
    await space.passes()
    assert space.kafka.acls == set(), "nobody is denied in its name"


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"listener": "nope"}, "ListenerMissing", "spec.listener: the cluster has no listener 'nope'"),
        ({"listener": "mutual"}, "ListenerMissing", "spec.listener: listener 'mutual' does not take scram-sha-512"),
    ],
)
async def test_a_listener_that_does_not_take_it(spec: dict[str, str], reason: str, says: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", **spec))
    await space.passes()
    condition = await space.condition("app")
    assert (condition["reason"], says in condition["message"]) == (reason, True)


async def test_without_an_authorizer_rules_are_told_to_be_void() -> None:
    space = await user_space()
    space.kafka.authorizer = False
    await space.declare_users(user("app", rule()), user("bare"))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "AuthorizationDisabled"
    assert (await space.condition("app", "CredentialsCurrent"))["status"] == "True"
    assert (await space.condition("bare"))["status"] == "True"
    space.kafka.authorizer = True
    await space.passes()
    assert (await space.condition("app"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_what_is_wrong_with_credentials_is_told_beside_what_is_wrong_with_rules() -> None:
    space = await user_space()
    space.kafka.authorizer = False
    await put_secret(space, "app", {"password": "theirs"})
    await space.declare_users(user("app", rule()))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "AuthorizationDisabled"
    assert (await space.condition("app", "CredentialsCurrent"))["reason"] == "SecretTaken"


async def test_a_rule_that_is_declared_no_more_goes_whatever_is_wrong_with_the_credentials() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders"), rule("invoices")))
    await space.passes()
    await put_secret(space, "app", {"password": "theirs"})
    await space.respec("app", authorization={"acls": [rule("orders")]})
    await space.passes()
    assert (await space.condition("app"))["reason"] == "SecretTaken"
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_one_refusal_of_kafka_holds_up_nobody() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule()), user("good", rule()))
    await space.passes()
    service = space.service()
    from support.fake_kafka import FakeKafkaAdmin

    from controlplane.ports import KafkaError

    async def refuse(self: object, acls: list[Acl]) -> dict[Acl, KafkaError | None]:
        return {acl: KafkaError("POLICY_VIOLATION", "no") if acl.principal == "User:app" else None for acl in acls}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeKafkaAdmin, "create_acls", refuse)
        await space.respec("app", authorization={"acls": [rule("more")]})
        await service.reconcile(KEY)
    assert (await space.condition("app"))["reason"] == "KafkaRefused"
    assert (await space.condition("good"))["status"] == "True"


async def test_secrets_that_may_not_be_read_hold_up_nobody_and_keep_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.fake_kube import FakeKube

    from controlplane.ports import ForbiddenError, Object, Resource

    space = await user_space()
    await space.declare_users(user("app", rule()), user("out", rule()))
    await space.passes()
    real = FakeKube.get

    async def forbid(self: FakeKube, resource: Resource, name: str, namespace: str | None = None) -> Object:
        if resource.plural == "secrets" and name in ("app", "out"):
            raise ForbiddenError(403, "Forbidden", "secrets is forbidden")
        return await real(self, resource, name, namespace)

    monkeypatch.setattr(FakeKube, "get", forbid)
    await space.declare_users(user("new", rule()))
    await space.annotate("out", revoked="1")
    await space.passes()
    assert (await space.condition("new"))["status"] == "True"
    for name in ("app", "out"):
        assert (await space.condition(name, "CredentialsCurrent"))["reason"] == "SecretRefused"
    assert "out" not in space.kafka.scram
    assert space.acls("out") >= DENIALS


@pytest.mark.parametrize("trouble", ["quota", "foreign"])
async def test_what_one_user_has_that_is_long_holds_up_nobody(trouble: str) -> None:
    space = await user_space()
    await space.declare_users(user("out", rule()))
    await space.passes()
    quotas = {"producerByteRate": "999999999999999E"} if trouble == "quota" else {}
    if trouble == "foreign":
        space.kafka.acls.add(Acl("User:bad", "topic", "x" * 500, "literal", "Read", "allow"))
    await space.declare_users(user("bad", rule(), quotas=quotas), user("good", rule()))
    await space.annotate("out", revoked="1")
    await space.passes()
    assert space.acls("out") >= DENIALS
    assert "out" not in space.kafka.scram
    assert (await space.condition("out"))["reason"] == "Revoked"
    for name in ("bad", "good"):
        assert (await space.condition(name))["status"] == "True"
        assert (await space.secret(name))["password"] == space.password_in_kafka(name)
    if trouble == "foreign":
        (shown,) = (await space.user("bad"))["status"]["foreign"]["shown"]
        assert (len(shown), shown.startswith("allow Read on topic xxx")) == (400, True)


@pytest.mark.parametrize("where", ["record", "finalizer", "secret", "status"])
async def test_an_error_that_nobody_thought_of_holds_up_nobody(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from support.fake_kube import FakeKube

    space = await user_space()
    await space.declare_users(user("out", rule()))
    await space.passes()
    made = {call: getattr(FakeKube, call) for call in ("replace", "patch", "create")}
    call = {"record": "replace", "finalizer": "patch", "secret": "create", "status": "replace"}[where]

    async def fail(self: FakeKube, *arguments: object, **more: object) -> object:
        text = str(arguments) + str(more)
        plural = "secrets" if where == "secret" else "kafkausers"
        met = {"record": "'Ready'" not in text, "status": "AsDeclared" in text}.get(where, True)
        if met and "'bad'" in text and f"'{plural}'" in text:
            raise RuntimeError("planted pa55")
        return await made[call](self, *arguments, **more)

    monkeypatch.setattr(FakeKube, call, fail)
    await space.declare_users(user("bad", rule()), user("good", rule()))
    await space.annotate("out", revoked="1")
    await space.passes()
    assert (await space.condition("out"))["reason"] == "Revoked"
    assert (await space.condition("good"))["status"] == "True"
    condition = await space.condition("bad")
    assert (condition["reason"], "RuntimeError" in condition["message"]) == ("UnexpectedError", True)
    assert "KafkaUser kafka/bad: RuntimeError" in caplog.text
    assert "pa55" not in space.everything_said() + caplog.text
    assert where == "status" or "bad" not in space.kafka.scram
    monkeypatch.setattr(FakeKube, call, made[call])
    await space.passes()
    assert (await space.condition("bad"))["status"] == "True"


async def test_a_record_that_cannot_be_written_stops_no_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.fake_kube import FakeKube

    from controlplane.ports import InvalidError, Object

    space = await user_space()
    await space.declare_users(user("bad", rule()), user("good", rule()))
    await space.passes()

    async def refuse(self: FakeKube, resource: object, obj: Object, **more: object) -> Object:
        raise InvalidError(422, "Invalid", "status.acls: too many")

    monkeypatch.setattr(FakeKube, "replace", refuse)
    await space.annotate("bad", revoked="1")
    await space.passes()
    assert space.acls("bad") >= DENIALS
    assert "bad" not in space.kafka.scram
    assert not space.has_secret("bad")


async def test_users_wait_for_their_cluster_and_go_with_it() -> None:
    space = await user_space()
    await space.declare_users(user("lost", cluster="nowhere"))
    nowhere = users_key("kafka", "nowhere")
    await space.service().reconcile(nowhere)
    assert (await space.condition("lost"))["reason"] == "ClusterNotFound"
    await space.kube.patch(KAFKA_USERS, "lost", "kafka", {"metadata": {"finalizers": ["kfleet.dev/user"]}})
    await space.delete("lost")
    await space.service().reconcile(nowhere)
    assert not space.has_user("lost"), "nothing can be left on a cluster that is gone"
    await space.declare_users(user("app"))
    await space.passes()
    for node in space.kafka.ids:
        space.kafka.stop_broker(node)
    await space.delete("app")
    await space.passes()
    assert space.has_user("app"), "it may still be let in"
    for node in space.kafka.ids:
        space.kafka.start_broker(node)
    await space.passes()
    assert not space.has_user("app")


async def test_no_password_is_in_anything_but_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    space = await user_space()
    await space.declare_users(user("app", rule()))
    await space.passes()
    await space.annotate("app", rotate_at="1")
    await space.passes()
    said = space.everything_said() + caplog.text
    assert len(space.passwords.made) == 2
    assert not [password for password in space.passwords.made if password in said]
    planted = said + f"login as app with {space.passwords.made[0]}"
    assert [password for password in space.passwords.made if password in planted], "the control"


def test_the_fingerprint_tells_passwords_apart() -> None:
    found = {iterations("app", SecretStr(f"password-{number}")) for number in range(200)}
    assert len(found) > 190
    assert all(4096 < number <= 16384 for number in found)
    assert iterations("app", SecretStr("a")) != iterations("other", SecretStr("a"))


async def test_a_certificate_of_the_operators_that_cannot_be_used_is_told_to_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from support.fake_kafka import FakeKafkaAdmins

    from controlplane.ports import KafkaAdmin, KafkaUnreachableError

    space = await user_space()
    await space.declare_users(user("app", rule()))

    def spoiled(self: FakeKafkaAdmins, *arguments: object) -> KafkaAdmin:
        raise KafkaUnreachableError("the operator's certificate or what it trusts cannot be used")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeKafkaAdmins, "get", spoiled)
        assert await space.passes() == space.service()._settings.busy_interval
    condition = await space.condition("app")
    assert (condition["reason"], "cannot be used" in condition["message"]) == ("KafkaUnavailable", True)
    await space.passes()
    assert (await space.condition("app"))["status"] == "True"


@pytest.mark.parametrize("error", ["ForbiddenError", "UnreachableError"])
@pytest.mark.parametrize(
    ("name", "held_up"),
    [("cell-clients-ca-key", {"cert"}), ("cell-cluster-ca", {"cert", "app"})],
    ids=["clients", "cluster"],
)
async def test_an_authority_that_cannot_be_read_ends_no_pass(
    name: str, held_up: set[str], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the API server fails to decrypt, with 500."""
    from support.fake_kube import FakeKube

    from controlplane import ports

    space = await user_space()
    await space.declare_users(user("out", rule()), user("old", kind="tls"))
    await space.passes()
    real = FakeKube.get

    async def fail(self: FakeKube, resource: ports.Resource, of: str, namespace: str | None = None) -> ports.Object:
        if (resource.plural, of) == ("secrets", name):
            raise getattr(ports, error)(403, "Because", "nobody may look")
        return await real(self, resource, of, namespace)

    monkeypatch.setattr(FakeKube, "get", fail)
    await space.declare_users(user("app", rule()), user("cert", kind="tls"))
    await space.annotate("out", revoked="1")
    await space.passes()
    assert (await space.condition("out"))["reason"] == "Revoked"
    assert space.acls("out") >= DENIALS
    for who in ("app", "cert"):
        condition = await space.condition(who)
        assert (condition["reason"] == "AuthorityMissing") == (who in held_up), condition
        assert (f"Secret '{name}' cannot be read: nobody may look" in condition["message"]) == (who in held_up)
    old = await space.condition("old")
    assert (old["status"] == "True") == (name == "cell-clients-ca-key"), "what it has does"
    monkeypatch.setattr(FakeKube, "get", real)
    await space.passes()
    assert {(await space.condition(who))["status"] for who in ("app", "cert", "old")} == {"True"}


async def test_a_public_authority_that_was_edited_by_hand_reaches_no_user() -> None:
    """What its key's Secret says is to be trusted; the public one is put right by the cluster's next pass."""
    space = await user_space()
    right = (await space.secret("cell-cluster-ca"))["ca.crt"]
    await put_secret(space, "cell-cluster-ca-key", {"ca.crt": right, "ca.key": "of no account here"})
    await space.declare_users(user("app", rule()))
    await space.passes()
    stranger = space.pki.make_authority("cell cluster CA", 86_400).certificate
    await put_secret(space, "cell-cluster-ca", {"ca.crt": stranger})
    await space.passes(2)
    assert (await space.secret("app"))["ca.crt"] == right
