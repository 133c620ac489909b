"""What came of a pass, told: a status where it changed, its Events, and the count of corrections."""

from __future__ import annotations

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.domain.check import explain
from controlplane.domain.users.layers import CellState
from controlplane.domain.users.planner import SESSIONS, AccessObservation, UserPlan
from controlplane.ports import Clock, ConflictError, KubeApi, NotFoundError
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.users.credentials import NORMAL, WARNING, refused
from controlplane.services.users.entry import Entry
from controlplane.services.users.status import REVOKED, Standing, may_count, user_status

_NOT_ABOUT_CREDENTIALS = frozenset({"AuthorizationDisabled"})


class Reporter:
    def __init__(self, kube: KubeApi, clock: Clock, events: EventRecorder) -> None:
        self._kube, self._clock, self._events = kube, clock, events
        self._uncounted: dict[str, int] = {}
        """Corrections by uid that no status has yet; lost when the operator ends, which costs a count and no more."""

    async def write(self, entry: Entry, ready: Standing, plan: UserPlan | None, cell: CellState | None) -> None:
        """`plan` and `cell` as they are after the pass, None where Kafka was not asked."""
        user, now = entry.user, self._clock.now()
        drifted = self._uncounted.pop(user.metadata.uid, 0) + entry.drifted
        counted = drifted if may_count(user, now) else 0
        if drifted - counted:
            self._uncounted[user.metadata.uid] = drifted
        status = user_status(
            user,
            ready,
            _of_credentials(entry, ready, plan),
            plan,
            case=entry.case,
            layers=entry.layer_status(cell) if cell is not None and plan is not None else None,
            drifted=counted,
            now=now,
        )
        if status != user.status:
            try:
                body = entry.obj | {"status": status.to_object()}
                await self._kube.replace(KAFKA_USERS, body, subresource="status")
            except (ConflictError, NotFoundError):
                # The object moved or went away: its event wakes another pass.
                return
        before = c.find_condition(user.status.conditions, c.READY)
        for event in entry.events:
            await self._events.record(entry.obj, event.kind, event.reason, event.note)
        if before is None or (before.status == "True", before.reason) != (ready.ok, ready.reason):
            kind = NORMAL if ready.ok or ready.waiting else WARNING
            await self._events.record(
                entry.obj, kind, ready.reason, ready.message or f"{user.principal} is as declared"
            )

    async def left_behind(self, entry: Entry) -> None:
        """Told before the object goes: afterwards there is no status to tell it in."""
        user = entry.user
        note = (
            f"{user.principal} is kept out. Secret {user.secret_name} stays: namespace {user.metadata.namespace} is "
            "not enrolled; what it has lets nobody in, and Kubernetes deletes it with its owner"
        )
        await self._events.record(entry.obj, WARNING, "SecretLeft", note)


def _of_credentials(entry: Entry, ready: Standing, plan: UserPlan | None) -> Standing | None:
    """None where nothing is known now: what was known stays."""
    if entry.unenrolled is not None:
        return Standing(ok=False, reason=entry.unenrolled.name, message=explain([entry.unenrolled]))
    about_others = ready.ok or ready.reason in _NOT_ABOUT_CREDENTIALS or (plan is not None and plan.kept)
    if about_others and (obstacle := entry.obstacle) is not None:
        return Standing(ok=False, reason=obstacle.reason, message=obstacle.message, waiting=obstacle.waiting)
    if about_others and entry.case is not None:
        return Standing(ok=True, reason="Current")
    if entry.problem is None and entry.case is None and ready.waiting:
        return None
    return ready


def standing(entry: Entry, plan: UserPlan | None, observed: AccessObservation) -> Standing:
    """How a user stands after a pass, as its condition Ready has it."""
    refusal = entry.refusal or (plan.refusal if plan is not None else None)
    problem = entry.obstacle
    if entry.deleting:
        return Standing(ok=False, reason="Revoking", message="It is being deleted: revoked first.", waiting=True)
    if refusal is not None:
        return Standing(ok=False, reason=refusal.name, message=explain([refusal]), later=refusal.name == SESSIONS)
    if entry.errors:
        error = refused(entry.errors[0])
        return Standing(ok=False, reason=error.reason, message=error.message, waiting=error.waiting)
    if problem is not None:
        return Standing(ok=False, reason=problem.reason, message=problem.message, waiting=problem.waiting)
    if plan is None or not plan.is_empty or not _is_told(entry, observed):
        return Standing(ok=False, reason="Applying", message="Kafka does not show everything yet.", waiting=True)
    if entry.revoked:
        told = f"annotation {names.REVOKED} is set: the user is kept out. Take it away to let it in again."
        if entry.unenrolled is not None:
            told += f" Secret {entry.user.secret_name!r} stays: condition {c.CREDENTIALS_CURRENT} says why."
        return Standing(ok=False, reason=REVOKED, message=told)
    return Standing(ok=True, reason="AsDeclared")


def _is_told(entry: Entry, observed: AccessObservation) -> bool:
    """Whether Kafka has a password where there has to be one."""
    return entry.user.is_tls or entry.revoked or entry.user.user_name in observed.scram
