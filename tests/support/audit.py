"""Compare what an identity may do with what it did, from the API server's audit log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from controlplane.api.rbac import Grant

OPERATOR_USER = "system:serviceaccount:kfleet:kfleet-operator"
Use = tuple[str, str, str]
"""(API group, resource with subresource, verb)"""


def _events(audit_log: Path, user: str) -> Iterator[dict[str, Any]]:
    """Events of one user about resources, answered and not forbidden, oldest first, whatever the API server has put
    aside in files of their own included; a line still being written is left out."""
    found: dict[str, dict[str, Any]] = {}
    # The present file first: if it is put aside meanwhile, it is among the others then, and what is read twice is one.
    for path in (audit_log, *sorted(audit_log.parent.glob(f"{audit_log.stem}-*{audit_log.suffix}"))):
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            event: dict[str, Any] = json.loads(line)
            if event["user"]["username"] == user and "objectRef" in event and _code(event) != 403:
                found[f"{event['auditID']} {event['stage']}"] = event
    yield from sorted(found.values(), key=lambda event: str(event["requestReceivedTimestamp"]))


def _code(event: dict[str, Any]) -> int:
    return int(event.get("responseStatus", {}).get("code", 0))


def uses(audit_log: Path, user: str) -> set[Use]:
    """Everything that `user` asked for and was not forbidden."""
    found: set[Use] = set()
    for event in _events(audit_log, user):
        ref = event["objectRef"]
        resource = ref["resource"] + (f"/{ref['subresource']}" if "subresource" in ref else "")
        found.add((ref.get("apiGroup", ""), resource, event["verb"]))
        if event["verb"] == "patch" and _code(event) == 201:
            # A server-side apply that made the object: authorised as patch and as create, logged as patch.
            found.add((ref.get("apiGroup", ""), resource, "create"))
    return found


def pods_done(audit_log: Path, user: str, verb: str, namespace: str) -> Counter[str]:
    """How often each pod of a namespace was created or deleted with success: nothing between two looks is missed."""
    return done(audit_log, user, verb, namespace, "pods")


def done(audit_log: Path, user: str, verb: str, namespace: str, resource: str) -> Counter[str]:
    """The same of any resource, by its plural."""
    return Counter(
        event["objectRef"]["name"]
        for event in _events(audit_log, user)
        if event["verb"] == verb
        and event["objectRef"]["resource"] == resource
        and event["objectRef"].get("namespace") == namespace
        and 200 <= _code(event) < 300
    )


def deleters(audit_log: Path, user: str, namespace: str) -> list[tuple[str, str]]:
    """(when, user agent) of every request to delete a pod of the namespace, refused ones included, oldest first."""
    return [
        (event["requestReceivedTimestamp"], event.get("userAgent", ""))
        for event in _events(audit_log, user)
        if event["verb"] == "delete"
        and event["objectRef"]["resource"] == "pods"
        and event["objectRef"].get("namespace") == namespace
    ]


def unused(grants: Iterable[Grant], used: set[Use]) -> set[Use]:
    """Granted and never used."""
    return {(g.group, g.resource, verb) for g in grants for verb in g.verbs} - used
