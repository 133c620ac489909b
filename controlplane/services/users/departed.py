"""Users who are gone, or kept out, and may still come back with what they have: remembered in a ConfigMap beside the
cluster.

It has names of principals, times, rules and quotas, nothing secret. Without an owner reference, as the volumes have
none: who was kept out of the data stays kept out of it. Losing it costs what it knew: denials stay for ever, and those
that could not be made yet are never made.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.api import names
from controlplane.domain.access.pki import Certificate
from controlplane.domain.cluster import naming
from controlplane.domain.users import acls
from controlplane.domain.users.departed import Departed, DepartedPlan, Records, plan_departed, with_departing
from controlplane.domain.users.layers import CellState
from controlplane.domain.users.planner import AccessObservation, DesiredUser, winners
from controlplane.ports import (
    NAMESPACE_TERMINATING,
    Acl,
    Clock,
    KafkaAdmin,
    KubeApi,
    KubeError,
    NotFoundError,
    Object,
    Pki,
    PkiError,
    UnreachableError,
)
from controlplane.services.at_once import each
from controlplane.services.cluster.observe import CONFIG_MAPS
from controlplane.services.queue import Key
from controlplane.services.users import secrets
from controlplane.services.users.entry import Entry

log = logging.getLogger(__name__)

PRINCIPALS = "principals"


@dataclass
class Memory:
    """What is remembered of a cluster's departed users; `obj` is the ConfigMap as it is, None where there is none.
    `readable`: it could be looked for."""

    key: Key
    obj: Object | None = None
    records: Records = field(default_factory=dict)
    readable: bool = True

    def tell(self, entries: Iterable[Entry]) -> None:
        """What is remembered of their principals."""
        for entry in entries:
            record = self.records.get(entry.user.principal)
            entry.departed = record if record is not None and record.let_in else None


class Departures:
    """`lifetime` is that of a new certificate, in seconds."""

    def __init__(self, kube: KubeApi, pki: Pki, clock: Clock, *, lifetime: float) -> None:
        self._kube, self._pki, self._clock, self._lifetime = kube, pki, clock, lifetime

    async def read(self, key: Key, entries: Iterable[Entry]) -> Memory:
        """Entries are told what is remembered of their principals. Raises UnreachableError."""
        try:
            obj = await self._kube.get(CONFIG_MAPS, naming.departed_users(key.name), key.namespace)
        except NotFoundError:
            return Memory(key)
        except UnreachableError:
            raise
        except KubeError as error:
            log.warning("%s: users that are gone cannot be looked for: %s", key, error.message)
            return Memory(key, readable=False)
        memory = Memory(key, obj, from_text((obj.get("data") or {}).get(PRINCIPALS, "{}")))
        memory.tell(entries)
        return memory

    async def remember(
        self,
        memory: Memory,
        leaving: Sequence[Entry],
        cell: CellState,
        *,
        pending: bool = False,
        unlisted: bool = False,
    ) -> None:
        """Before anything else is done for who is about to be gone or kept out. `pending`: nothing can be done in Kafka
        now; `unlisted`: nobody can be denied anything. Raises UnreachableError."""
        await each((entry for entry in leaving if entry.user.is_tls), self._look_for_certificate)
        users = [entry.desired(cell) for entry in leaving]
        records = with_departing(memory.records, users, self._clock.now(), pending=pending, unlisted=unlisted)
        for user in users:
            record = records.get(user.principal)
            if pending and user.owned_acls - (record.acls if record is not None else frozenset()):
                log.warning("%s: no room to remember the rules of %s: they stay in Kafka", memory.key, user.principal)
        if not await self._write(memory, records):
            for entry in leaving:
                entry.unremembered = True

    async def _look_for_certificate(self, entry: Entry) -> None:
        """A pass that was cut short has put the last one into the Secret and into no status. One that cannot be seen
        any more may have been made just now."""
        found: Sequence[Certificate] = ()
        known = entry.departed is not None and entry.departed.certificate
        try:
            held = await secrets.read(self._kube, entry.user)
            found = self._pki.read(held.certificate) if held.ours and held.certificate else ()
        except (KubeError, PkiError):
            known = False
        if found:
            entry.last_certificate = found[0].not_after
        elif not known:
            entry.last_certificate = self._clock.now() + self._lifetime

    def plan(
        self, memory: Memory, entries: Sequence[Entry], cell: CellState, observed: AccessObservation, *, unlisted: bool
    ) -> DepartedPlan:
        heirs: dict[str, DesiredUser | None] = {entry.user.principal: None for entry in entries}
        heirs |= winners(entry.desired(cell) for entry in entries if entry.refusal is None)
        return plan_departed(memory.records, heirs, observed, self._clock.now(), unlisted=unlisted)

    async def settle(self, memory: Memory, plan: DepartedPlan) -> None:
        """What is known once everything was done; if it cannot be written it is found out again. Where denials are
        lifted that are owed for later also before: afterwards nothing in Kafka says whose."""
        await self._write(memory, plan.records)

    async def _write(self, memory: Memory, records: Records) -> bool:
        """Only what differs. Whether it is written then. Raises UnreachableError."""
        if records == memory.records:
            return True
        if not memory.readable:
            return False
        try:
            memory.obj = await self._put(memory, {PRINCIPALS: to_text(records)})
        except UnreachableError:
            raise
        except KubeError as error:
            if error.reason == NAMESPACE_TERMINATING or (memory.obj is None and isinstance(error, NotFoundError)):
                return True  # the volumes go with the namespace: there is nothing that anybody could come back to
            log.warning("%s: users that are gone cannot be remembered: %s", memory.key, error.message)
            return False
        memory.records = dict(records)
        return True

    async def _put(self, memory: Memory, data: dict[str, str]) -> Object:
        if memory.obj is None:
            return await self._kube.create(CONFIG_MAPS, _config_map(memory.key, data), memory.key.namespace)
        meta = memory.obj["metadata"]
        change = {"metadata": {key: meta[key] for key in ("uid", "resourceVersion")}, "data": data}
        return await self._kube.patch(CONFIG_MAPS, meta["name"], memory.key.namespace, change)


async def change(admin: KafkaAdmin, rules: frozenset[Acl], *, create: bool) -> bool:
    """Whether anything was asked for. What Kafka refuses is asked for again at the next pass. Raises KafkaError."""
    if not rules:
        return False
    results = await (admin.create_acls(sorted(rules)) if create else admin.delete_acls(sorted(rules)))
    for acl, error in results.items():
        if error is not None:
            log.warning("%s, which is gone: %s: %s", acl.principal, acl, error.message)
    return True


async def forget(admin: KafkaAdmin, users: frozenset[str]) -> bool:
    """As `change`. Raises KafkaError."""
    if not users:
        return False
    for user, error in (await admin.delete_scram(sorted(users))).items():
        if error is not None:
            log.warning("the password of %s, which is gone: %s", user, error.message)
    return True


async def lift(admin: KafkaAdmin, quotas: Mapping[str, Mapping[str, None]]) -> bool:
    """As `change`. Raises KafkaError."""
    if not quotas:
        return False
    for user, error in (await admin.alter_user_quotas(quotas)).items():
        if error is not None:
            log.warning("quotas of %s, which is gone: %s", user, error.message)
    return True


def to_text(records: Records) -> str:
    found = {
        principal: {"until": one.until, "denied": one.denied, "certificate": one.certificate}
        | ({"pending": True} if one.pending else {})
        | ({} if one.let_in else {"letIn": False})
        | ({"owed": True} if one.owed else {})
        | ({"iterations": one.iterations} if one.iterations is not None else {})
        | ({"acls": acls.to_texts(one.acls)} if one.acls else {})
        | ({"quotas": dict(one.quotas)} if one.quotas else {})
        for principal, one in sorted(records.items())
    }
    return json.dumps(found, separators=(",", ":"))


def from_text(text: str) -> dict[str, Departed]:
    """The inverse; what cannot be read is left out: its denial stays. One that does not say what its user logged in
    with may be a certificate's."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    records = {}
    for principal, one in found.items() if isinstance(found, dict) else ():
        until = one.get("until") if isinstance(one, dict) else ""
        if until is None or (isinstance(until, (int, float)) and not isinstance(until, bool)):
            records[principal] = Departed(
                until,
                denied=bool(one.get("denied")),
                certificate=one.get("certificate") is not False,
                pending=one.get("pending") is True,
                acls=_acls(principal, one.get("acls")),
                quotas=_quotas(one.get("quotas")),
                let_in=one.get("letIn") is not False,
                owed=one.get("owed") is True,
                iterations=_iterations(one.get("iterations")),
            )
    return records


def _acls(principal: str, found: object) -> frozenset[Acl]:
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
    return acls.from_texts(principal, texts)


def _iterations(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _quotas(found: object) -> dict[str, float]:
    return {key: value for key, value in found.items() if isinstance(value, float)} if isinstance(found, dict) else {}


def _config_map(key: Key, data: dict[str, str]) -> Object:
    return {
        "metadata": {
            "name": naming.departed_users(key.name),
            "namespace": key.namespace,
            "labels": {names.APP_INSTANCE: key.name, names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET},
        },
        "data": data,
    }
