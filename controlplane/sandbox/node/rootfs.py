"""A container's root directory: $KFLEET_POD_ROOT, where every mountPath appears as a link to its volume.

It is made anew at each start, like a container's writable layer. Volumes are reached through links: clearing the root
never touches their content.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from controlplane.ports import Object
from controlplane.sandbox.node.errors import ConfigError
from controlplane.sandbox.node.expansion import expand
from controlplane.sandbox.node.volumes import Volumes

TERMINATION_PATH = "/dev/termination-log"


def build(root: Path, container: Object, volumes: Volumes, values: Mapping[str, str], termination: Path) -> Path:
    """Returns the working directory. Raises ConfigError when a subPath leaves its volume or cannot be made."""
    if root.exists():
        remove(root)
    for folder in ("home", "tmp", "dev"):
        (root / folder).mkdir(parents=True)
    for mount in container.get("volumeMounts") or []:
        _mount(inside(root, mount["mountPath"]), mount, volumes, values)
    termination.touch(mode=0o666)
    link = inside(root, container.get("terminationMessagePath") or TERMINATION_PATH)
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(termination)
    directory = inside(root, container.get("workingDir") or "/")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def inside(root: Path, path: str) -> Path:
    """An absolute path of the container under its root; `..` cannot climb out."""
    return root / os.path.normpath("/" + path).lstrip("/")


def locate(command: str, root: Path) -> str:
    """An absolute command from a mounted volume or, failing that, of the host; others are looked up in PATH."""
    if command.startswith("/") and inside(root, command).exists():
        return str(inside(root, command))
    return command


def remove(tree: Path) -> None:
    """Delete a tree, also where a container took away its own write permission."""

    def retry(_function: object, path: str, _error: object) -> None:
        parent = Path(path).parent
        parent.chmod(0o700)
        target = Path(path)
        if target.is_dir() and not target.is_symlink():
            target.chmod(0o700)
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    if tree.exists():
        shutil.rmtree(tree, onerror=retry)


def _mount(link: Path, mount: Object, volumes: Volumes, values: Mapping[str, str]) -> None:
    source = volumes.path(mount["name"])
    if link.is_dir() and not link.is_symlink():
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    sub_path = mount.get("subPath") or expand(mount.get("subPathExpr", ""), values)
    if sub_path:
        target = source / sub_path
        if not target.resolve().is_relative_to(source.resolve()):
            raise ConfigError(
                f'failed to prepare subPath for volumeMount "{mount["name"]}": {sub_path} leaves the volume'
            )
        if volumes.projected(mount["name"]):
            _copy(target, link, mount["name"], sub_path)
            return
        if not target.exists():
            target.mkdir(parents=True)
        source = target
    link.symlink_to(source)


def _copy(target: Path, link: Path, volume: str, sub_path: str) -> None:
    """A subPath of a projected volume does not follow refreshes in Kubernetes: a copy, not a link."""
    if target.is_dir():
        shutil.copytree(target, link)
    elif target.is_file():
        shutil.copy2(target, link)
    else:
        raise ConfigError(f'failed to prepare subPath for volumeMount "{volume}": {sub_path} does not exist')
