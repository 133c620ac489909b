"""Users' credentials on fakes: what their Secrets hold, how they are rotated, and what is edited by hand."""

from __future__ import annotations

import contextlib
import json

import pytest
from pydantic import SecretStr
from support.simulation import DieAt, Killed
from support.users import SERVERS, SETTINGS, put_authority, put_secret, rule, user, user_space

from controlplane.domain.users.credentials import iterations
from controlplane.domain.users.values import ScramPassword


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
    assert await space.passes() == SETTINGS.resync_interval


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
