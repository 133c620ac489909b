"""Who the users of a cell are: those that name the cluster, and those of its tenants, in whatever namespace."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pydantic import ValidationError

from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.api.kafka_user import KafkaUser
from controlplane.api.tenant_ref import CELL_PATH
from controlplane.api.validate import explain as explain_problems
from controlplane.api.validate_user import check_user
from controlplane.domain.check import Check
from controlplane.domain.tenants.directory import Cell, Directory
from controlplane.domain.tenants.homes import unwatched
from controlplane.domain.users.tenancy import tenant_in, trespass
from controlplane.ports import KubeApi, Object
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.queue import Key
from controlplane.services.users.entry import Entry

log = logging.getLogger(__name__)


async def residents(kube: KubeApi, key: Key, directory: Directory, *, watches: Callable[[str], bool]) -> list[Entry]:
    """Who is in a namespace that this operator does not watch gets nothing new; who was let in before that is looked
    after, and let go when it is deleted. Raises KubeError."""
    own = await kube.list(KAFKA_USERS, key.namespace)
    named = [obj for obj in own if (obj["spec"].get("clusterRef") or {}).get("name") == key.name]
    given = await kube.list(KAFKA_USERS, fields=f"{CELL_PATH[1:]}={key.cell}")
    cell = Cell(key.namespace, key.name)
    prefixed = [tenant for tenant in directory.in_cell(cell) if directory.owns_prefix(tenant)]
    found = []
    for obj in (*named, *(obj for obj in given if "clusterRef" not in obj["spec"])):
        user = readable(obj)
        if user is not None:
            entry = _entry(obj, user, cell, directory, prefixed)
            if not watches(user.metadata.namespace):
                entry.barred = unwatched(user.metadata.namespace, cell)
            found.append(entry)
    return found


def readable(obj: Object) -> KafkaUser | None:
    """None for what this version cannot read, which is told in the log."""
    try:
        return KafkaUser.model_validate(obj)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        meta = obj["metadata"]
        log.warning("KafkaUser %s/%s cannot be read: %s", meta["namespace"], meta["name"], fields)
        return None


def invalid(user: KafkaUser) -> Check | None:
    problems = check_user(user)
    return Check("InvalidSpec", ok=False, evidence=explain_problems(problems)) if problems else None


def _entry(obj: Object, user: KafkaUser, cell: Cell, directory: Directory, prefixed: list[KafkaTenant]) -> Entry:
    entry = Entry(obj, user, refusal=invalid(user))
    if entry.refusal is not None and entry.out and (entry.let_in or entry.has_something):
        entry.refusal, entry.misdeclared = None, True  # kept out whatever is wrong with it
    if user.spec.tenant_ref is None:
        entry.barred = trespass(user, None, prefixed)
        return entry
    found = tenant_in(user, cell, directory)
    if isinstance(found, Check):
        entry.tenant, entry.barred = directory.by_name.get(user.spec.tenant_ref.name), found
    else:
        entry.tenant, entry.barred = found, trespass(user, found, ())
    return entry
