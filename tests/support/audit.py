"""Compare what an identity may do with what it did, from the API server's audit log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from controlplane.api.names import SECRETS_ROLE
from controlplane.api.rbac import Grant

OPERATOR_USER = "system:serviceaccount:kfleet:kfleet-operator"
Use = tuple[str, str, str]
"""(API group, resource with subresource, verb)"""


def log_files(audit_log: Path) -> list[Path]:
    """The present file first, then those that the API server has put aside."""
    return [audit_log, *sorted(audit_log.parent.glob(f"{audit_log.stem}-*{audit_log.suffix}"))]


def _lines(audit_log: Path) -> Iterator[str]:
    """Whatever the API server has put aside in files of their own included, and what `keep` put there; a line still
    being written is left out."""
    # The present file first: if it is put aside meanwhile, it is among the others then, and comes twice.
    for path in log_files(audit_log):
        with path.open() as log:
            yield from (line for line in log if line.endswith("\n"))


def _events(audit_log: Path, user: str | None, *words: str) -> Iterator[dict[str, Any]]:
    """Events of one user, or of all, about resources, answered and not forbidden. Lines without one of the words are
    passed over: after many tests there are a hundred thousand."""
    for line in _lines(audit_log):
        if (user or "") in line and all(word in line for word in words):
            event: dict[str, Any] = json.loads(line)
            if user in (None, event["user"]["username"]) and "objectRef" in event and _code(event) != 403:
                yield event


def _asked(audit_log: Path, user: str, verb: str, namespace: str, resource: str) -> list[dict[str, Any]]:
    """Requests of that verb about a resource in a namespace, each once, oldest first."""
    found = {
        f"{event['auditID']} {event['stage']}": event
        for event in _events(audit_log, user, f'"{verb}"', f'"{resource}"', f'"{namespace}"')
        if event["verb"] == verb and _is(event, resource) and event["objectRef"].get("namespace") == namespace
    }
    return sorted(found.values(), key=lambda event: str(event["requestReceivedTimestamp"]))


def keep(audit_log: Path, name: str, other: Path) -> None:
    """Beside `audit_log` what another API server has written to `other`: `uses` counts both."""
    with audit_log.with_name(f"{audit_log.stem}-{name}{audit_log.suffix}").open("w") as kept:
        kept.writelines(_lines(other))


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


def with_secrets(audit_log: Path, user: str) -> set[str]:
    """Namespaces in which `user` was let to any Secret, also to one that is not there."""
    return {
        event["objectRef"].get("namespace", "")
        for event in _events(audit_log, user, '"secrets"')
        if _is(event, "secrets")
    }


def enrolled(audit_log: Path) -> set[str]:
    """Namespaces in which somebody has bound the role for Secrets, at any time."""
    return {
        event["objectRef"]["namespace"]
        for event in _events(audit_log, None, '"rolebindings"', SECRETS_ROLE)
        if _is(event, "rolebindings")
        and event["verb"] in ("create", "patch")
        and event["objectRef"].get("name") == SECRETS_ROLE
        and 200 <= _code(event) < 300
    }


def _is(event: dict[str, Any], resource: str) -> bool:
    return bool(event["objectRef"]["resource"] == resource)


def pods_done(audit_log: Path, user: str, verb: str, namespace: str) -> Counter[str]:
    """How often each pod of a namespace was created or deleted with success: nothing between two looks is missed."""
    return done(audit_log, user, verb, namespace, "pods")


def done(audit_log: Path, user: str, verb: str, namespace: str, resource: str) -> Counter[str]:
    """The same of any resource, by its plural."""
    asked = _asked(audit_log, user, verb, namespace, resource)
    return Counter(event["objectRef"]["name"] for event in asked if 200 <= _code(event) < 300)


def deleters(audit_log: Path, user: str, namespace: str) -> list[tuple[str, str]]:
    """(when, user agent) of every request to delete a pod of the namespace, refused ones included, oldest first."""
    asked = _asked(audit_log, user, "delete", namespace, "pods")
    return [(event["requestReceivedTimestamp"], event.get("userAgent", "")) for event in asked]


def unused(grants: Iterable[Grant], used: set[Use]) -> set[Use]:
    """Granted and never used."""
    return {(g.group, g.resource, verb) for g in grants for verb in g.verbs} - used
