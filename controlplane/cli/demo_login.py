"""The login of the demo's clients: what the operator put into their Secret, as files on this machine for a while."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from controlplane.sandbox.files import write_private


@contextmanager
def mounted(secret: Mapping[str, str], directory: Path) -> Iterator[None]:
    """A file a key, as a pod would have the Secret mounted; nobody else of this machine may read them. They are gone
    afterwards, and so are those that a killed demo left."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700)
    try:
        for key, text in secret.items():
            write_private(directory / key, text.encode())
        yield
    finally:
        shutil.rmtree(directory)
