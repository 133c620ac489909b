"""A pod's volumes as directories under pods/<uid>/volumes/<name>, and their refresh when sources or tokens change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.adapters.kubernetes.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SECRETS,
)
from controlplane.ports import Object, Resource
from controlplane.sandbox.node import atomic, objects
from controlplane.sandbox.node.atomic import File
from controlplane.sandbox.node.env import Place, data_bytes, field_value, resource_value
from controlplane.sandbox.node.errors import ConfigError, MissingError, MountError
from controlplane.sandbox.node.sources import Sources
from controlplane.sandbox.node.tokens import Tokens

DEFAULT_MODE = 0o644
DEFAULT_TOKEN_SECONDS = 3600


@dataclass(slots=True)
class _Content:
    """Files gathered for one volume; `refresh_at` (epoch seconds) is when a token in it wants to be renewed."""

    files: dict[str, File] = field(default_factory=dict)
    refresh_at: float | None = None

    def add(self, path: str, content: bytes, mode: int) -> None:
        self.files[path] = File(content, mode)


class Volumes:
    """`prepare` is level-triggered: run it again and it brings every volume up to date, touching only what changed."""

    def __init__(self, directory: Path, sources: Sources, tokens: Tokens, changed: Callable[[], None]) -> None:
        self.directory = directory
        self._sources, self._tokens, self._changed = sources, tokens, changed
        self._paths: dict[str, Path] = {}
        self._projected: set[str] = set()

    async def prepare(self, pod: Object, place: Place) -> float | None:
        """Returns the epoch second of the next refresh, None for none. Raises MountError and KubeError."""
        refresh: list[float] = []
        for volume in pod["spec"].get("volumes") or []:
            name = volume["name"]
            try:
                if claim := volume.get("persistentVolumeClaim"):
                    if name not in self._paths:
                        self._paths[name] = await self._claim(objects.namespace(pod), claim["claimName"])
                    continue
                path = self._paths[name] = self.directory / name
                sources, mode = _projections(volume)
                if sources is None:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                content = _Content()
                for source in sources:
                    await self._project(pod, place, source, mode, content)
                self._projected.add(name)
                atomic.write(path, content.files)
                refresh += [content.refresh_at] if content.refresh_at else []
            except (MissingError, ConfigError, OSError) as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        return min(refresh, default=None)

    def path(self, name: str) -> Path:
        return self._paths[name]

    def projected(self, name: str) -> bool:
        """Written by the node (ConfigMap, Secret, ...), not by containers."""
        return name in self._projected

    async def _claim(self, namespace: str, name: str) -> Path:
        claim = await self._sources.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        volume_name = claim["spec"].get("volumeName")
        if not volume_name or objects.dig(claim, "status", "phase") != "Bound":
            raise MissingError(f'persistentvolumeclaim "{name}" is not bound')
        volume = await self._sources.get(PERSISTENT_VOLUMES, None, volume_name)
        spec = volume["spec"]
        path = objects.dig(spec, "local", "path") or objects.dig(spec, "hostPath", "path")
        if path is None:
            raise MissingError(f'persistentvolume "{volume_name}" is neither local nor hostPath')
        return _existing(volume_name, Path(path))

    async def _project(self, pod: Object, place: Place, source: Object, mode: int, content: _Content) -> None:
        if reference := source.get("serviceAccountToken"):
            seconds = int(reference.get("expirationSeconds") or DEFAULT_TOKEN_SECONDS)
            token = await self._tokens.get(pod, reference.get("audience", ""), seconds)
            content.add(reference["path"], token.value.encode(), mode)
            content.refresh_at = min(content.refresh_at or token.refresh_at, token.refresh_at)
        elif reference := source.get("configMap"):
            await self._keys(pod, CONFIG_MAPS, reference, content, mode)
        elif reference := source.get("secret"):
            await self._keys(pod, SECRETS, reference, content, mode)
        elif reference := source.get("downwardAPI"):
            for item in reference.get("items") or []:
                content.add(item["path"], _downward(pod, place, item), item.get("mode", mode))

    async def _keys(self, pod: Object, resource: Resource, reference: Object, content: _Content, mode: int) -> None:
        namespace = objects.namespace(pod)
        name = reference.get("name") or reference.get("secretName") or ""
        optional = reference.get("optional", False)
        self._sources.subscribe(objects.uid(pod), resource, namespace, name, self._changed)
        try:
            data = data_bytes(resource, await self._sources.get(resource, namespace, name))
        except MissingError:
            if optional:
                return
            raise
        items = reference.get("items")
        if items is None:
            items = [{"key": key, "path": key} for key in data]
        for item in items:
            if item["key"] in data:
                content.add(item["path"], data[item["key"]], item.get("mode", mode))
            elif not optional:
                raise MissingError(
                    f"{resource.kind.lower()} references non-existent {resource.kind} key: {item['key']}"
                    f" in {namespace}/{name}"
                )


def _projections(volume: Object) -> tuple[list[Object] | None, int]:
    """Any volume the node writes, as sources of a projected one; None for a plain directory. With the file mode."""
    if (projected := volume.get("projected")) is not None:
        return projected.get("sources") or [], projected.get("defaultMode", DEFAULT_MODE)
    for kind in ("configMap", "secret", "downwardAPI"):
        if (source := volume.get(kind)) is not None:
            return [{kind: source}], source.get("defaultMode", DEFAULT_MODE)
    return None, DEFAULT_MODE


def _existing(volume: str, path: Path) -> Path:
    if not path.is_dir():
        raise MissingError(f'persistentvolume "{volume}": path "{path}" does not exist')
    return path


def _downward(pod: Object, place: Place, item: Object) -> bytes:
    if reference := item.get("fieldRef"):
        return field_value(pod, place, reference["fieldPath"]).encode()
    return resource_value(pod, place, item["resourceFieldRef"], None).encode()


def seconds_until(moment: float | None) -> float | None:
    return None if moment is None else max(0.0, moment - time.time())
