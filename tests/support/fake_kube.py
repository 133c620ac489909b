"""KubeApi in memory, for unit tests. One contract suite runs against it and against a real API server."""

from __future__ import annotations

import itertools
import marshal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from controlplane.ports import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    Object,
    Resource,
    WatchEvent,
)

Name = tuple[str, str, str]
DATA, MARKS = ("data", "stringData", "binaryData"), ("labels", "annotations")
DELETED_AT = "2023-11-14T22:13:20Z"
"""When an object with finalizers was deleted: there is no clock here."""


def clone(value: Any) -> Any:
    """A copy of what JSON can say: half of what unit tests compute would be copy.deepcopy. Version 2 knows no
    references, so that what was there twice is two things afterwards, as it would be behind an API server."""
    return marshal.loads(marshal.dumps(value, 2))


class FakeKube:
    """Objects by (plural, namespace, name), with uids, resourceVersions and preconditions; no schema, no admission."""

    def __init__(self) -> None:
        self.objects: dict[Name, Object] = {}
        self._applied: dict[str, Object] = {}
        """By uid: what was applied last, by the one manager that there is."""
        self._versions = itertools.count(1)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return clone(self._find(resource, name, namespace))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        cached: bool = False,
    ) -> Sequence[Object]:
        wanted = dict(part.split("=", 1) for part in labels.split(",") if part)
        found = [
            key
            for key, obj in self.objects.items()
            if key[0] == resource.plural
            and namespace in (None, key[1])
            and wanted.items() <= obj["metadata"].get("labels", {}).items()
            and all(_selects(obj, field) for field in fields.split(",") if field)
        ]
        return [clone(self.objects[key]) for key in sorted(found)]

    async def create(self, resource: Resource, body: Object, namespace: str | None = None) -> Object:
        meta = body["metadata"]
        key = (resource.plural, namespace or meta.get("namespace", ""), meta["name"])
        if key in self.objects:
            raise AlreadyExistsError(409, "AlreadyExists", f"{resource.plural} {meta['name']!r} already exists")
        obj = {"apiVersion": resource.api_version, "kind": resource.kind} | clone(body)
        obj["metadata"] |= {"uid": f"uid-{next(self._versions)}", "generation": 1, "namespace": key[1]}
        return self._store(key, obj)

    async def replace(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        meta = body["metadata"]
        found = self._find(resource, meta["name"], meta.get("namespace"))
        self._same(found, uid=meta.get("uid"), resource_version=meta.get("resourceVersion"))
        new = clone(found if subresource else body)
        if subresource:
            new[subresource] = clone(body[subresource])
        new["metadata"] |= {"uid": found["metadata"]["uid"]}
        if not subresource and new.get("spec") != found.get("spec"):
            new["metadata"]["generation"] = found["metadata"]["generation"] + 1
        return self._store(self._key(resource, found), new)

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        """Keys of maps that were applied before and now are not are dropped, and what changes nothing is no change, as
        server-side apply has it."""
        meta = body["metadata"]
        try:
            found = self._find(resource, meta["name"], meta.get("namespace"))
        except NotFoundError:
            stored = await self.create(resource, body)
        else:
            before = self._applied.get(found["metadata"]["uid"], {"metadata": {}})
            gone = _dropped(before, body, DATA) | {"metadata": _dropped(before["metadata"], meta, MARKS)}
            wanted = _merge(_merge(found, gone), clone(body))
            stored = clone(found) if wanted == found else self._store(self._key(resource, found), wanted)
        self._applied[stored["metadata"]["uid"]] = clone(body)
        return stored

    async def patch(
        self, resource: Resource, name: str, namespace: str | None, body: Object, *, subresource: str | None = None
    ) -> Object:
        found = self._find(resource, name, namespace)
        meta = body.get("metadata", {})
        self._same(found, uid=meta.get("uid"), resource_version=meta.get("resourceVersion"))
        return self._store(self._key(resource, found), _merge(found, clone(body)))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        found = self._find(resource, name, namespace)
        self._same(found, uid=uid, resource_version=resource_version)
        if found["metadata"].get("finalizers"):
            found["metadata"].setdefault("deletionTimestamp", DELETED_AT)
            self._store(self._key(resource, found), found)
        else:
            del self.objects[self._key(resource, found)]

    async def watch(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        for obj in await self.list(resource, namespace, labels=labels, fields=fields):
            yield WatchEvent("ADDED", obj)
        yield WatchEvent("SYNCED", {})

    def _find(self, resource: Resource, name: str, namespace: str | None) -> Object:
        try:
            return self.objects[(resource.plural, namespace or "", name)]
        except KeyError:
            raise NotFoundError(404, "NotFound", f"{resource.plural} {name!r} not found") from None

    def _key(self, resource: Resource, obj: Object) -> Name:
        return resource.plural, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]

    def _store(self, key: Name, obj: Object) -> Object:
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = obj
        if "deletionTimestamp" in obj["metadata"] and not obj["metadata"].get("finalizers"):
            del self.objects[key]
        return clone(obj)

    @staticmethod
    def _same(found: Object, *, uid: str | None, resource_version: str | None) -> None:
        for key, wanted in (("uid", uid), ("resourceVersion", resource_version)):
            if wanted and found["metadata"][key] != wanted:
                raise ConflictError(409, "Conflict", f"{key} is {found['metadata'][key]}, not {wanted}")


def _selects(obj: Object, selector: str) -> bool:
    """One `path=value` of a field selector; a boolean that is absent is false, and a text is empty, as in Go."""
    path, _, value = selector.partition("=")
    found: Any = obj
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if not found:
        return value in ("", "false")
    return (str(found).lower() if isinstance(found, bool) else found) == value


def _dropped(before: Object, now: Object, fields: Sequence[str]) -> Object:
    """A patch that takes away what was applied before and is not now, of these maps."""
    gone = {field: dict.fromkeys(set(before.get(field) or {}) - set(now.get(field) or {})) for field in fields}
    return {field: keys for field, keys in gone.items() if keys}


def _merge(into: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(into) if isinstance(into, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result
