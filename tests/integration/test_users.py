"""UserService against a real broker with real clients: let in, rotated while it works, kept out; nothing leaks.

Kubernetes is in memory here; tests/e2e/test_users.py has both for real, with TLS.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from support.cluster import LocalKafka
from support.leaks import leaks, of_processes
from support.scram_cluster import scram_cluster, scram_servers
from support.user_clients import DENIED, Busy, Client, java_offsets
from support.users import DENIALS, UserSpace, rule, user, user_space

from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.adapters.kafka.login import log_in
from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.ports import KafkaAdmin, NewTopic
from controlplane.services.cluster.observe import KAFKA_USERS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
VERSION = "4.3.1"
REAUTH_SECONDS = 4


@pytest.fixture(scope="module", name="cluster")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with scram_cluster(tmp_path_factory.mktemp("users"), version=VERSION, reauth_ms=REAUTH_SECONDS * 1000) as kafka:
        yield kafka


class Fixed:
    """Implements ports.KafkaAdmins: one cluster, wherever its pods are said to be."""

    def __init__(self, admin: KafkaAdmin) -> None:
        self.admin = admin

    def get(self, *_: object) -> KafkaAdmin:
        return self.admin

    async def forget(self, _: str) -> None:
        """Nothing is held open here."""


@pytest.fixture(name="space")
async def real_space(cluster: LocalKafka) -> AsyncIterator[UserSpace]:
    space = await user_space()
    admins = KafkaPythonAdmins(threads=2, timeout=10.0, voter_caught_up_seconds=2.0)
    space.admins = Fixed(admins.get("test/users", cluster.bootstrap_servers))  # type: ignore[assignment]
    stored = space.kube.objects[("kafkaclusters", "kafka", "cell")]
    stored["spec"]["listeners"] = [{"name": "scram", "port": 9093, "authentication": {"type": "scram-sha-512"}}]
    stored["status"]["listeners"] = [{"name": "scram", "bootstrapServers": scram_servers(cluster).split(",")}]
    yield space
    await admins.close()


async def until_ready(space: UserSpace, name: str, reason: str = "AsDeclared") -> None:
    for _ in range(50):
        await space.passes()
        if (await space.condition(name))["reason"] == reason:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(await space.condition(name))


async def test_a_users_life(
    space: UserSpace, cluster: LocalKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    admin = space.admins.get("", [])
    await admin.create_topics([NewTopic(name, 1, 1, {}) for name in ("orders", "secrets")])
    await space.declare_users(
        user("app", rule("orders", "Write"), rule("orders", "Describe"), quotas={"producerByteRate": "1Mi"})
    )
    await until_ready(space, "app")
    first = await space.secret("app")
    assert (await admin.describe_user_quotas())["app"] == {"producer_byte_rate": 1048576.0}

    found = await asyncio.to_thread(
        log_in, json.loads(first["librdkafka.json"]), ["orders", "secrets"], ["g"], 20.0, 60.0
    )
    assert [attempt.error for attempt in found.attempts] == [""]
    assert found.topics == {"orders": {"Write", "Describe"}}
    assert (found.refused_topics, found.refused_groups) == (frozenset({"secrets"}), frozenset({"g"}))
    client = Client(first, patience_s=60)
    assert await asyncio.to_thread(client.produces, "orders", "")
    assert await asyncio.to_thread(client.topics) == {"orders"}, "and no other"
    assert await asyncio.to_thread(Client(first).produces, "secrets", DENIED)
    java = await asyncio.to_thread(java_offsets, tmp_path, first, "orders", VERSION)
    assert (java.returncode, java.stdout.splitlines()[-1:]) == (0, ["orders:0:1"]), java.stderr

    with Busy(client, "orders") as busy:
        await space.annotate("app", rotate_at="1")
        await until_ready(space, "app")
        second = await space.secret("app")
        another = second["password"] != first["password"]
        assert another
        client.take(second)
        before = busy.acknowledged
        await asyncio.sleep(2.5 * REAUTH_SECONDS)  # the session has to prove itself again, with the new password
        assert busy.acknowledged > before + 50
        listed = list(of_processes())
    assert busy.failed == []
    assert await asyncio.to_thread(Client(first).is_refused), "the old password"
    with pytest.raises(KafkaException):
        await asyncio.to_thread(Client(first).topics)
    assert await asyncio.to_thread(Client(second).produces, "orders", "")

    # A connection whose session has just begun: one that has to prove itself meanwhile is cut off before it is denied.
    fresh = Client(second)
    assert await asyncio.to_thread(fresh.produces, "orders", "")
    client.errors.clear()
    await space.annotate("app", revoked="it was seen in a log")
    await until_ready(space, "app", "Revoked")
    assert await asyncio.to_thread(fresh.produces, "orders", DENIED), "on the connection that was open"
    assert await asyncio.to_thread(client.is_refused), "the one that was open all the time, at its re-authentication"
    assert await asyncio.to_thread(Client(second).is_refused)

    await space.annotate("app", revoked=None)
    space.clock.seconds += 2 * REAUTHENTICATE_SECONDS  # what the operator waits for, whatever the broker was told
    await until_ready(space, "app")
    third = await space.secret("app")
    assert await asyncio.to_thread(Client(third).produces, "orders", "")
    await space.delete("app")
    for _ in range(10):
        await space.passes()
    assert not [key for key in space.kube.objects if key[0] == KAFKA_USERS.plural]
    assert await asyncio.to_thread(Client(third).is_refused)

    made = {secret["password"] for secret in (first, second, third)}
    all_of_them = made == set(space.passwords.made)
    assert all_of_them
    said = [
        ("objects", space.everything_said()),
        ("the operator's log", caplog.text),
        ("Java", java.stdout),
        *listed,
        *((f"log of node {node}", pod.log_tail(10**7)) for node, pod in cluster.pods.items()),
    ]
    # What pytest shows of a failed call are its arguments.
    leaked, control = leaks(said, made), leaks([*said, ("planted", f"--password {first['password']}")], made)
    assert leaked == []
    assert control == ["planted"], "the control"


async def test_of_a_user_that_went_while_its_cluster_was_away_nothing_is_left_but_the_denial(space: UserSpace) -> None:
    admin = space.admins.get("", [])

    async def has() -> tuple[set[str], dict[str, float], bool]:
        acls = {str(acl) for acl in await admin.describe_acls() if acl.principal == "User:gone"}
        return acls, (await admin.describe_user_quotas()).get("gone", {}), "gone" in await admin.describe_scram()

    async def until(what: tuple[set[str], dict[str, float], bool]) -> None:
        for _ in range(50):
            await space.passes()
            if await has() == what:
                return
            await asyncio.sleep(0.2)
        assert await has() == what

    async def go_unseen() -> None:
        cluster = space.kube.objects.pop(("kafkaclusters", "kafka", "cell"))
        await space.delete("gone")
        await space.passes()
        assert not space.has_user("gone")
        space.kube.objects["kafkaclusters", "kafka", "cell"] = cluster

    await space.declare_users(user("gone", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    await until_ready(space, "gone")
    assert await has() == ({"allow Read on topic orders"}, {"consumer_byte_rate": 5.0}, True)
    await go_unseen()
    await until((DENIALS, {}, False))

    await space.declare_users(user("gone", rule("orders", "Write"), quotas={"consumerByteRate": "7"}))
    await until_ready(space, "gone", "SessionsNotOver")
    await until(({*DENIALS, "allow Write on topic orders"}, {"consumer_byte_rate": 7.0}, False))
    await go_unseen()
    await until((DENIALS, {}, False))
