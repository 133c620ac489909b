"""A directory whose files change all at once, as kubelet's AtomicWriter (pkg/volume/util/atomic_writer.go) makes it.

`<dir>/..<stamp>/` holds the files, `<dir>/..data` points to it, `<dir>/<name>` points to `..data/<name>`. A refresh
writes a new stamped directory and renames `..data`: a reader sees all old files or all new ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int = 0o644


def write(directory: Path, files: Mapping[str, File]) -> bool:
    """Make `directory` show exactly `files` (relative paths). False when it already did. Idempotent after a crash."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / DATA
    if data.is_dir() and _same(data, files):
        _link(directory, files)
        return False
    old = data.readlink() if data.is_symlink() else None
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    fresh.chmod(0o755)
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    pointer = directory / "..data_tmp"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(fresh.name)
    pointer.replace(data)
    _link(directory, files)
    if old is not None:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def _same(data: Path, files: Mapping[str, File]) -> bool:
    real = data.resolve()
    found = {str((Path(folder) / name).relative_to(real)) for folder, _, names in os.walk(real) for name in names}
    return found == set(files) and all(
        (real / path).read_bytes() == file.content and (real / path).stat().st_mode & 0o777 == file.mode
        for path, file in files.items()
    )


def _link(directory: Path, files: Mapping[str, File]) -> None:
    wanted = {path.split("/", 1)[0] for path in files}
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    for name in wanted:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
