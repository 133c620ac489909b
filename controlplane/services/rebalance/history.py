"""Delete the KafkaRebalances that kfleet has made and that nobody needs any more (domain/rebalance/history.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from pydantic import ValidationError

from controlplane.api import conditions as c
from controlplane.api.kafka_rebalance import KafkaRebalanceStatus
from controlplane.domain.operation.progress import fully_recorded
from controlplane.domain.rebalance.asked import MoveState, standing_of
from controlplane.domain.rebalance.history import Made, outlived
from controlplane.ports import ConflictError, KubeApi, KubeError, NotFoundError, Object, UnreachableError
from controlplane.services.rebalance.asked import REBALANCES

log = logging.getLogger(__name__)


class History:
    """`keep` finished ones stay of each owner."""

    def __init__(self, kube: KubeApi, *, keep: int) -> None:
        self._kube, self._keep = kube, keep

    async def prune(
        self, made: Iterable[Object], *, owner: Callable[[Object], str], needed: Collection[str] = ()
    ) -> None:
        """`made` are those of one namespace that kfleet made, as they were read; `needed` are names that some status
        tells of. One that has changed since is left alone, and so is one that may not be deleted, which the log says.
        Raises UnreachableError."""
        objects = {obj["metadata"]["name"]: obj for obj in made}
        found = (Made(name, owner(obj), ended_at(obj), is_hopeless(obj)) for name, obj in objects.items())
        for name in outlived(found, self._keep, needed):
            meta = objects[name]["metadata"]
            try:
                await self._kube.delete(
                    REBALANCES, name, meta["namespace"], uid=meta["uid"], resource_version=meta["resourceVersion"]
                )
            except (ConflictError, NotFoundError):
                continue
            except UnreachableError:
                raise
            except KubeError as error:
                log.warning("KafkaRebalance %s/%s is not needed and stays: %s", meta["namespace"], name, error.message)


def ended_at(obj: Object) -> float | None:
    """When it was complete or had failed, in seconds since the epoch.

    None while it is neither, while anything keeps it from going, and while the ledger has not taken all of it.
    """
    status = _status(obj)
    if (
        status is None
        or status.operation is not None
        or (status.last_operation is not None and not fully_recorded(status.last_operation))
    ):
        return None
    over = [one for one in status.conditions if one.type in (c.COMPLETE, c.FAILED) and one.status == "True"]
    return max((c.seconds(one.last_transition_time) for one in over), default=None)


def is_hopeless(obj: Object) -> bool:
    """Whether there is no plan for it, and never was one."""
    status = _status(obj)
    if status is None or status.operation is not None or status.last_operation is not None:
        return False
    return standing_of(status.conditions).state is MoveState.INFEASIBLE


def _status(obj: Object) -> KafkaRebalanceStatus | None:
    """None for one that cannot be read, which its own pass says, and for one that something keeps from going."""
    meta = obj["metadata"]
    if meta.get("finalizers") or "deletionTimestamp" in meta:
        return None
    try:
        return KafkaRebalanceStatus.model_validate(obj.get("status") or {})
    except ValidationError:
        return None
