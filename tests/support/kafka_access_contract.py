"""What every implementation of ports.KafkaAdmin must do about credentials, ACLs and quotas.

Subclasses provide the fixture `admin`: the admin of a cluster with an authorizer, on which it may do everything. Cases
share it, so each names its principals after itself.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from pydantic import SecretStr
from support.kafka_admin_contract import codes

from controlplane.domain.users.values import Acl, ScramPassword
from controlplane.ports import KafkaAdmin

T = TypeVar("T")
SECONDS = 60.0


async def settled(ask: Callable[[], Awaitable[T]], condition: Callable[[T], bool]) -> T:
    """Asks until the answer is as it should be (brokers learn of changes later), or time is up."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = await ask()
        if condition(found) or time.monotonic() > deadline:
            return found


def acl(user: str, operation: str = "Read", permission: str = "allow", **more: str) -> Acl:
    fields = {"resource": "topic", "name": f"{user}-topic", "pattern": "literal"} | more
    return Acl(principal=f"User:{user}", operation=operation, permission=permission, **fields)


class KafkaAccessContract:
    @staticmethod
    async def acls_of(admin: KafkaAdmin, user: str, wanted: set[Acl]) -> set[Acl]:
        async def ask() -> set[Acl]:
            return {one for one in await admin.describe_acls() if one.principal == f"User:{user}"}

        return await settled(ask, lambda found: found == wanted)

    @staticmethod
    async def quotas_of(admin: KafkaAdmin, user: str, wanted: dict[str, float] | None) -> dict[str, float] | None:
        async def ask() -> dict[str, float] | None:
            return (await admin.describe_user_quotas()).get(user)

        return await settled(ask, lambda found: found == wanted)

    async def test_a_credential_is_set_changed_and_deleted(self, admin: KafkaAdmin) -> None:
        first = ScramPassword("scram-life", SecretStr("p1"), 4097)
        assert await admin.upsert_scram([first]) == {"scram-life": None}
        users = ["scram-life", "scram-nobody"]
        found = await settled(lambda: admin.describe_scram(users), lambda found: found == {"scram-life": 4097})
        assert found == {"scram-life": 4097}
        assert await admin.upsert_scram([replace(first, iterations=16384)]) == {"scram-life": None}
        found = await settled(lambda: admin.describe_scram(users), lambda found: found == {"scram-life": 16384})
        assert found == {"scram-life": 16384}
        assert (await admin.describe_scram())["scram-life"] == 16384
        assert codes(await admin.delete_scram(users)) == {"scram-life": None, "scram-nobody": "RESOURCE_NOT_FOUND"}
        assert await settled(lambda: admin.describe_scram(users), lambda found: not found) == {}

    async def test_each_credential_of_a_batch_gets_its_own_result(self, admin: KafkaAdmin) -> None:
        wanted = [
            ScramPassword("scram-good", SecretStr("p"), 4097),
            ScramPassword("scram-weak", SecretStr("p"), 4095),
            ScramPassword("scram-slow", SecretStr("p"), 16385),
        ]
        refused = "UNACCEPTABLE_CREDENTIAL"
        assert codes(await admin.upsert_scram(wanted)) == {
            "scram-good": None,
            "scram-weak": refused,
            "scram-slow": refused,
        }

    async def test_acls_are_created_described_and_deleted_one_by_one(self, admin: KafkaAdmin) -> None:
        wanted = {
            acl("acl-life"),
            acl("acl-life", "Write", host="10.0.0.7"),
            acl("acl-life", "All", "deny", name="*"),
            acl("acl-life", "Describe", name="acl-", pattern="prefixed"),
            acl("acl-life", "Read", resource="group", name="acl-group"),
            acl("acl-life", "Write", resource="transactionalId", name="acl-tx"),
            acl("acl-life", "Describe", resource="cluster", name="kafka-cluster"),
        }
        other = acl("acl-other", name="acl-life-topic")
        assert set((await admin.create_acls([*sorted(wanted), other])).values()) == {None}
        assert await self.acls_of(admin, "acl-life", wanted) == wanted
        again = await admin.create_acls(sorted(wanted))
        assert set(again.values()) == {None}, "what is there already is no error"
        gone = acl("acl-life")
        assert await admin.delete_acls([gone, acl("acl-life", "Alter")]) == {gone: None, acl("acl-life", "Alter"): None}
        assert await self.acls_of(admin, "acl-life", wanted - {gone}) == wanted - {gone}
        assert await self.acls_of(admin, "acl-other", {other}) == {other}, "another principal's stays"

    async def test_each_acl_of_a_batch_gets_its_own_result(self, admin: KafkaAdmin) -> None:
        odd = acl("acl-odd", "Describe", resource="cluster", name="another-cluster")
        results = await admin.create_acls([acl("acl-odd"), odd])
        assert results[acl("acl-odd")] is None
        error = results[odd]
        assert error is not None
        assert (error.code, error.retriable) == ("INVALID_REQUEST", False)
        assert await self.acls_of(admin, "acl-odd", {acl("acl-odd")}) == {acl("acl-odd")}

    async def test_quotas_change_by_key(self, admin: KafkaAdmin) -> None:
        first = {"producer_byte_rate": 1048576.0, "request_percentage": 12.5}
        assert await admin.alter_user_quotas({"quota-life": first}) == {"quota-life": None}
        assert await self.quotas_of(admin, "quota-life", first) == first
        changes = {"producer_byte_rate": None, "controller_mutation_rate": 2.0}
        assert await admin.alter_user_quotas({"quota-life": changes}) == {"quota-life": None}
        wanted = {"request_percentage": 12.5, "controller_mutation_rate": 2.0}
        assert await self.quotas_of(admin, "quota-life", wanted) == wanted
        assert await admin.alter_user_quotas({"quota-life": dict.fromkeys(wanted)}) == {"quota-life": None}
        assert await self.quotas_of(admin, "quota-life", None) is None

    async def test_each_quota_of_a_batch_gets_its_own_result(self, admin: KafkaAdmin) -> None:
        results = await admin.alter_user_quotas(
            {"quota-good": {"consumer_byte_rate": 5.0}, "quota-typo": {"consumer_bytes": 5.0}}
        )
        assert codes(results) == {"quota-good": None, "quota-typo": "INVALID_REQUEST"}
        assert await self.quotas_of(admin, "quota-good", {"consumer_byte_rate": 5.0}) == {"consumer_byte_rate": 5.0}
        assert await self.quotas_of(admin, "quota-typo", None) is None

    async def test_no_access_to_change_is_no_error(self, admin: KafkaAdmin) -> None:
        assert await admin.upsert_scram([]) == {}
        assert await admin.delete_scram([]) == {}
        assert await admin.describe_scram([]) == {}
        assert await admin.create_acls([]) == {}
        assert await admin.delete_acls([]) == {}
        assert await admin.alter_user_quotas({}) == {}
