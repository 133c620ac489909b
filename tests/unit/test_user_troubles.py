"""What is wrong with one user, or with what it needs, is told to it and holds up nobody else."""

from __future__ import annotations

import pytest
from support.users import DENIALS, KEY, put_secret, rule, user, user_space

from controlplane.domain.users.values import Acl


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
