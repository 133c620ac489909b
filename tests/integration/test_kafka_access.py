"""Credentials, ACLs and quotas against a real broker: the port's contract, then what real clients make of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException, Producer
from pydantic import SecretStr
from support.cluster import LocalKafka
from support.kafka_access_contract import KafkaAccessContract, acl, settled
from support.scram_cluster import scram_cluster, scram_servers

from controlplane.adapters.kafka import admin as admin_module
from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.domain.users.values import ScramPassword
from controlplane.ports import KafkaAdmin, NewTopic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
REAUTH_SECONDS = 5.0
SECONDS = 60.0


@pytest.fixture(scope="module", name="cluster")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with scram_cluster(tmp_path_factory.mktemp("access"), reauth_ms=int(REAUTH_SECONDS * 1000)) as kafka:
        yield kafka


@pytest.fixture(name="admin")
async def real_admin(cluster: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaAdmin]:
    monkeypatch.setattr(admin_module, "BATCH", 3)
    admins = KafkaPythonAdmins(threads=2, timeout=10.0, voter_caught_up_seconds=2.0)
    yield admins.get("test/access", cluster.bootstrap_servers)
    await admins.close()


class Client:
    """One producer that logs in with a password; what the broker says to it."""

    def __init__(self, cluster: LocalKafka, user: str, password: str) -> None:
        self.errors: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": scram_servers(cluster),
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": user,
                "sasl.password": password,
                "message.timeout.ms": 5000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
                "error_cb": lambda error: self.errors.append(error.name()),
            }
        )

    def topics(self) -> set[str]:
        try:
            return set(self._producer.list_topics(timeout=5).topics)
        finally:
            self._producer.poll(0)

    def produce(self, topic: str) -> str:
        """Empty when it was acknowledged, else the error's name (also that of a client which has been told already)."""
        outcome: list[ClientError | None] = []
        try:
            self._producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        except KafkaException as refused:
            return str(refused.args[0].name())
        self._producer.flush(10)
        (error,) = outcome
        return "" if error is None else str(error.name())

    def produces(self, topic: str, wanted: str) -> bool:
        """Whether it comes to that, however late the client learns of it."""
        deadline = time.monotonic() + SECONDS
        while self.produce(topic) != wanted:
            if time.monotonic() > deadline:
                return False
            self._producer.poll(0.2)
        return True


class TestRealAccess(KafkaAccessContract):
    async def test_the_password_lets_in_and_another_does_not(self, cluster: LocalKafka, admin: KafkaAdmin) -> None:
        assert await admin.upsert_scram([ScramPassword("in", SecretStr("right"), 8200)]) == {"in": None}
        await settled(lambda: admin.describe_scram(["in"]), bool)
        assert Client(cluster, "in", "right").topics() == set()
        wrong = Client(cluster, "in", "wrong")
        with pytest.raises(KafkaException):
            wrong.topics()
        assert "_AUTHENTICATION" in wrong.errors

    async def test_acls_let_in_and_a_deny_bites_a_live_connection(self, cluster: LocalKafka, admin: KafkaAdmin) -> None:
        await admin.create_topics([NewTopic("live-topic", 1, 1, {})])
        await admin.upsert_scram([ScramPassword("live", SecretStr("pw"), 8200)])
        await settled(lambda: admin.describe_scram(["live"]), bool)
        client = Client(cluster, "live", "pw")
        assert client.produces("live-topic", "TOPIC_AUTHORIZATION_FAILED")
        write = acl("live", "Write")
        await admin.create_acls([write])
        await self.acls_of(admin, "live", {write})
        assert client.produces("live-topic", "")
        deny = acl("live", "All", "deny", name="*")
        await admin.create_acls([deny])
        await self.acls_of(admin, "live", {write, deny})
        assert client.produces("live-topic", "TOPIC_AUTHORIZATION_FAILED")

    async def test_a_deleted_credential_ends_a_session_at_its_re_authentication(
        self, cluster: LocalKafka, admin: KafkaAdmin
    ) -> None:
        await admin.create_topics([NewTopic("gone-topic", 1, 1, {})])
        await admin.upsert_scram([ScramPassword("gone", SecretStr("pw"), 8200)])
        await admin.create_acls([acl("gone", "Write")])
        await settled(lambda: admin.describe_scram(["gone"]), bool)
        client = Client(cluster, "gone", "pw")
        assert client.produces("gone-topic", "")
        await admin.delete_scram(["gone"])
        deadline = time.monotonic() + SECONDS
        while client.produce("gone-topic") == "":
            assert time.monotonic() < deadline, "it still writes"
        assert "_AUTHENTICATION" in client.errors
