"""Make a directory exactly once, however many processes want it and whenever they are killed.

Invariant: `target` either does not exist or is complete. Work happens in a sibling that is renamed at the end, under a
lock that the kernel lets go of when its holder dies; what a killed builder left behind is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from controlplane.sandbox.errors import BuildError

POLL_SECONDS = 0.1


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive flock on `path` (created if missing); `waiting` is called now and then meanwhile.

    The holder may remove the file: whoever waited then finds that its handle is no longer the file and tries again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = path.exists() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino
            except BlockingIOError:
                held = False
                if waiting is not None:
                    waiting()
            if held:
                yield
                return
        time.sleep(POLL_SECONDS)


def make_once(target: Path, make: Callable[[Path], None], waiting: Callable[[], None] | None = None) -> Path:
    """`make` fills an empty directory, which becomes `target`. Raises what `make` raises, BuildError for the disk."""
    if target.is_dir():
        return target
    try:
        with locked(target.parent / f".{target.name}.lock", waiting):
            if target.is_dir():
                return target
            for leftover in target.parent.glob(f".{target.name}.partial-*"):
                remove_tree(leftover)
            partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
            try:
                make(partial)
                partial.chmod(0o755)
                partial.rename(target)
            finally:
                if partial.exists():
                    remove_tree(partial)
    except OSError as error:
        raise BuildError(f"cannot write {error.filename or target}: {error.strerror or error}") from error
    return target


def remove_tree(path: Path) -> None:
    """Remove a directory tree; a tree that is not there is not an error."""
    if path.exists():
        shutil.rmtree(path)
