"""Work on many users, of which one holds up nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from controlplane.ports import UnreachableError
from controlplane.services.at_once import each
from controlplane.services.users.credentials import unexpected
from controlplane.services.users.entry import Entry


async def each_user(entries: Iterable[Entry], work: Callable[[Entry], Awaitable[None]]) -> list[Entry]:
    """Those that it failed for, which have a problem then. Raises UnreachableError, in a group."""
    failed = []

    async def guarded(entry: Entry) -> None:
        try:
            await work(entry)
        except UnreachableError:
            raise
        except Exception as error:  # noqa: BLE001 - one user holds up nobody else, whatever is wrong with it
            entry.problem = unexpected(entry.user, error)
            failed.append(entry)

    await each(entries, guarded)
    return failed
