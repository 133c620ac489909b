"""KafkaUsers for tests: objects, a cluster on fakes that has a listener for them, and what they left behind."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from pydantic import SecretStr
from support.hidden import Hidden
from support.simulation import DieAt, Namespace, created

from controlplane.adapters.pki import CryptographyPki
from controlplane.api import names
from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.domain.users.departed import SLACK_SECONDS, Departed
from controlplane.ports import KeyPair, Pki
from controlplane.services.access.secrets import SECRETS
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import intercept_admins, intercept_kube
from controlplane.services.keys import users_key
from controlplane.services.users.departed import from_text
from controlplane.services.users.service import UserService
from controlplane.settings import OperatorSettings

Object = dict[str, Any]
KEY = users_key("kafka", "cell")
SERVERS = ["broker-0:9093", "broker-1:9093"]
SETTINGS = OperatorSettings(settle_interval=0.001)
CREATED = "2026-01-01T00:00:00Z"
DENIALS = {f"deny All on {what}" for what in ("topic *", "group *", "transactionalId *", "cluster kafka-cluster")}
SESSIONS_END = REAUTHENTICATE_SECONDS + SLACK_SECONDS
DAY = 86_400.0


def rule(name: str = "orders", *operations: str, kind: str = "topic", **more: Any) -> Object:
    """One of spec.authorization.acls."""
    resource = {"type": kind} | ({} if kind == "cluster" else {"name": name})
    pattern = more.pop("patternType", None)
    if pattern:
        resource["patternType"] = pattern
    return {"resource": resource, "operations": list(operations or ("Read",))} | more


def user(name: str, *acls: Object, kind: str = "scram-sha-512", cluster: str = "cell", **spec: Any) -> Object:
    authentication = {"type": kind} | spec.pop("authentication", {})
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "creationTimestamp": CREATED},
        "spec": {
            "clusterRef": {"name": cluster},
            "authentication": authentication,
            "authorization": {"acls": list(acls)},
        }
        | spec,
    }


class CountedPasswords:
    """Implements ports.Passwords, and remembers all it made: the test knows what must not be found anywhere."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._numbers = itertools.count(1)

    def new(self) -> SecretStr:
        self.made.append(f"planted-password-number-{next(self._numbers):06}-of-a-test")
        return SecretStr(self.made[-1])


class UserSpace(Namespace):
    """A cluster that is up, with a SCRAM and an mTLS listener and their authorities."""

    passwords: CountedPasswords
    pki: Pki

    def service(self, die: DieAt | None = None, **settings: Any) -> UserService:
        """A new life."""
        watchers = [die] if die else []
        kube = intercept_kube(self.kube, watchers)
        return UserService(
            kube,
            intercept_admins(self.admins, watchers),
            pki=self.pki,
            passwords=self.passwords,
            clock=self.clock,
            events=EventRecorder(kube, self.clock),
            settings=SETTINGS.model_copy(update=settings),
        )

    async def declare_users(self, *objects: Object) -> None:
        for obj in objects:
            obj["metadata"]["namespace"] = "kafka"
            await self.kube.create(KAFKA_USERS, obj)

    async def passes(self, number: int = 1, die: DieAt | None = None) -> float | None:
        again = None
        for _ in range(number):
            self.clock.seconds += 1
            again = await self.service(die).reconcile(KEY)
        return again

    async def user(self, name: str) -> Object:
        return await self.kube.get(KAFKA_USERS, name, "kafka")

    async def condition(self, name: str, kind: str = "Ready") -> Object:
        found = (await self.user(name)).get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == kind), {"status": "", "reason": "", "message": ""})

    async def annotate(self, name: str, **values: str | None) -> None:
        changes = {f"kfleet.dev/{key.replace('_', '-')}": value for key, value in values.items()}
        await self.kube.patch(KAFKA_USERS, name, "kafka", {"metadata": {"annotations": changes}})

    async def respec(self, name: str, **spec: Any) -> None:
        obj = await self.user(name)
        obj["spec"] |= spec
        await self.kube.replace(KAFKA_USERS, obj)

    async def delete(self, name: str) -> None:
        await self.kube.delete(KAFKA_USERS, name, "kafka")

    def has_user(self, name: str) -> bool:
        return ("kafkausers", "kafka", name) in self.kube.objects

    def has_secret(self, name: str) -> bool:
        return ("secrets", "kafka", name) in self.kube.objects

    async def secret(self, name: str) -> dict[str, str]:
        found = await self.kube.get(SECRETS, name, "kafka")
        return Hidden({key: base64.b64decode(value).decode() for key, value in found["data"].items()})

    async def edit_secret(self, name: str, **data: str | None) -> None:
        changes = {
            key: None if text is None else base64.b64encode(text.encode()).decode() for key, text in data.items()
        }
        await self.kube.patch(SECRETS, name, "kafka", {"data": changes})

    def acls(self, name: str) -> set[str]:
        return {str(acl) for acl in self.kafka.acls if acl.principal == f"User:{name}"}

    def password_in_kafka(self, name: str) -> str:
        return self.kafka.scram[name].password.get_secret_value()

    def events(self) -> list[str]:
        return [obj["reason"] for (plural, _, _), obj in self.kube.objects.items() if plural == "events"]

    def stage(self, when_no_acl: str) -> None:
        cluster = self.kube.objects[("kafkaclusters", "kafka", "cell")]
        cluster["spec"]["authorization"] = {"type": "Standard", "whenNoAcl": when_no_acl}

    def remembered(self) -> dict[str, Departed]:
        """Of users that are gone or kept out, by principal."""
        found = self.kube.objects.get(("configmaps", "kafka", "cell-departed-users"))
        return from_text(found["data"]["principals"]) if found else {}

    def everything_said(self) -> str:
        """All of Kubernetes but the Secrets."""
        return json.dumps([obj for (plural, _, _), obj in self.kube.objects.items() if plural != "secrets"])


async def user_space() -> UserSpace:
    made = await created()
    space = UserSpace()
    space.__dict__ |= made.__dict__
    space.passwords, space.pki = CountedPasswords(), CryptographyPki(space.clock)
    cluster = await space.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    cluster["spec"]["listeners"] = [
        {"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}},
        {"name": "mutual", "port": 9094, "tls": True, "authentication": {"type": "tls"}},
    ]
    stored = space.kube.objects[("kafkaclusters", "kafka", "cell")]
    stored["spec"]["listeners"] = cluster["spec"]["listeners"]
    stored["status"]["listeners"] = [
        {"name": name, "bootstrapServers": SERVERS, "caSecret": "cell-cluster-ca"} for name in ("clients", "mutual")
    ]
    ca, clients = (space.pki.make_authority(f"cell {words}", 86_400 * 365) for words in ("cluster CA", "clients CA"))
    await put_secret(space, "cell-cluster-ca", {"ca.crt": ca.certificate})
    await put_authority(space, clients)
    return space


async def put_authority(space: UserSpace, pair: KeyPair) -> None:
    await put_secret(space, "cell-clients-ca-key", {"ca.crt": pair.certificate, "ca.key": pair.key})


async def put_secret(space: UserSpace, name: str, data: dict[str, str]) -> None:
    space.kube.objects.pop(("secrets", "kafka", name), None)
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    labels = {names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET, names.CLUSTER: "cell"}
    meta = {"name": name, "namespace": "kafka", "labels": labels}
    await space.kube.create(SECRETS, {"metadata": meta, "data": encoded})


def beside(namespace: Namespace) -> UserSpace:
    """The users of a cluster that is looked after as well, on the same fakes."""
    space = UserSpace()
    space.__dict__ |= namespace.__dict__
    space.passwords, space.pki = CountedPasswords(), namespace.certificates.pki
    return space
