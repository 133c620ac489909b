"""`kfleet user rotate` and `revoke`: set an annotation, and see that the operator has acted on it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from controlplane.api import names
from controlplane.api.conditions import CREDENTIALS_CURRENT, READY, find_condition
from controlplane.api.kafka_user import KafkaUser
from controlplane.cli.ask import confirm, confirm_by_name
from controlplane.cli.connect import Connection, connect
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import USERS, read_as
from controlplane.cli.operator_lease import operator_seen
from controlplane.cli.options import Where
from controlplane.cli.recorded import record
from controlplane.cli.user_read import user_of
from controlplane.cli.user_view import state_line
from controlplane.domain.access.enrolment import NOT_ENROLLED
from controlplane.domain.health.checks import operator_check
from controlplane.ports import ConflictError
from controlplane.settings import OperatorSettings

WAIT_SECONDS = 60.0
MAX_REASON = 256


async def rotate_user(where: Where, name: str, seconds: float | None, *, yes: bool) -> None:
    """Raises CliError for a user that is revoked, and when nothing has come of it in time."""
    async with connect(where) as connection:
        user = await user_of(connection, name)
        if names.REVOKED in user.metadata.annotations:
            raise CliError(f"{name} is revoked and has no credentials; {_undo(connection, name)} lets it in again")
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        _say(f"{user.principal} gets new credentials in Secret {user.secret_name}")
        if user.is_tls:
            _say("its present certificate stays valid until it expires; to keep it out, revoke the user")
        else:
            _say("its clients have to read the Secret again before their sessions prove themselves anew (15 minutes)")
        confirm(f"rotate the credentials of {name}", yes)
        await _record(connection, "user rotate", user, {"rotation": stamp})
        await _annotate(connection, user, names.ROTATE_AT, stamp)
        done = await _until(connection, user, seconds, lambda now: _is_rotated(now, stamp))
        issued = done.status.credential.issued_at if done.status.credential is not None else None
        _say(f"Secret {user.secret_name} has new credentials, issued {issued}")


async def revoke_user(where: Where, name: str, seconds: float | None, *, reason: str, typed: str | None) -> None:
    """Raises CliError when nothing has come of it in time; the request stays."""
    async with connect(where) as connection:
        user = await user_of(connection, name)
        _say(f"{user.principal} is denied everything, on open connections too (no denial while whenNoAcl is Allow)")
        _say(f"its credentials are gone then, Secret {user.secret_name} included; {_undo(connection, name)} undoes it")
        if user.is_tls:
            _say("a certificate cannot be called back: it stays out until its last one has expired, undone or not")
        else:
            _say("sessions live on for up to 15 minutes: undone sooner, it stays out until the last one has ended")
        confirm_by_name(f"revoke {name}", name, typed)
        # What keeps somebody out must work while the ledger is away.
        await _record(connection, "user revoke", user, {"reason": reason}, urgent=True)
        await _annotate(connection, user, names.REVOKED, " ".join(reason.split())[:MAX_REASON] or "true")
        done = await _until(connection, user, seconds, _is_revoked)
        kept = find_condition(done.status.conditions, CREDENTIALS_CURRENT)
        if kept is not None and kept.reason == NOT_ENROLLED:
            _say(f"{user.principal} is kept out; Secret {user.secret_name} stays. {kept.message}")
        else:
            _say(f"{user.principal} is kept out, and its credentials are gone")


def _is_rotated(user: KafkaUser, stamp: str) -> bool:
    credential = user.status.credential
    return credential is not None and credential.rotation == stamp


def _is_revoked(user: KafkaUser) -> bool:
    """While the annotation is there a status that says so is true, whatever pass has written it: the operator takes the
    word back before it lets anybody in again. Without it the object is one that was read before it was set."""
    ready = find_condition(user.status.conditions, READY)
    return names.REVOKED in user.metadata.annotations and ready is not None and ready.reason == "Revoked"


async def _record(
    connection: Connection, action: str, user: KafkaUser, detail: dict[str, str], *, urgent: bool = False
) -> None:
    subject = f"KafkaUser {connection.namespace}/{user.metadata.name}"
    await record(await connection.user(), action, subject, cell=user.cell or "", detail=detail, urgent=urgent)


async def _annotate(connection: Connection, user: KafkaUser, annotation: str, value: str) -> None:
    change = {"metadata": {"uid": user.metadata.uid, "annotations": {annotation: value}}}
    try:
        await connection.kube.patch(USERS, user.metadata.name, connection.namespace, change)
    except ConflictError:
        raise CliError(f"{user.metadata.name} was deleted and made anew meanwhile; look at it and ask again") from None


async def _until(
    connection: Connection, user: KafkaUser, seconds: float | None, done: Callable[[KafkaUser], bool]
) -> KafkaUser:
    """The user once `done` holds. Raises CliError when it goes away, or the time is up."""
    limit = WAIT_SECONDS if seconds is None else seconds
    name, latest = user.metadata.name, user
    try:
        async with asyncio.timeout(limit):
            events = connection.kube.watch(USERS, connection.namespace, fields=f"metadata.name={name}")
            async for event in events:
                if event.type == "DELETED":
                    break
                if event.type == "SYNCED":
                    continue
                latest = read_as(KafkaUser, event.object)
                if done(latest):
                    return latest
    except TimeoutError:
        now = time.time()
        seen = await operator_seen(connection.kube, OperatorSettings(), now)
        check = operator_check(seen) if seen else None
        why = f"{check.evidence} " if check and not check.ok else ""
        raise CliError(
            f"it has not come about within {limit:g} s ({state_line(latest)}). {why}The request stays",
            ExitCode.UNHEALTHY,
        ) from None
    raise CliError(f"KafkaUser {name} was deleted")


def _undo(connection: Connection, name: str) -> str:
    return f"`kubectl -n {connection.namespace} annotate kfu {name} {names.REVOKED}-`"


def _say(text: str) -> None:
    print(f"kfleet: {text}", file=sys.stderr, flush=True)
