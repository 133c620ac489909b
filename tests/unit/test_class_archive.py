"""Which archive belongs to which jars: one that the JVM would not take is never found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from controlplane.sandbox.class_archive import archive_file


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    found = tmp_path / "4.2.0"
    found.mkdir()
    for name in ("clients.jar", "server.jar"):
        (found / name).write_text(name)
        os.utime(found / name, (1_000_000_000, 1_000_000_000))
    return found


def test_the_same_jars_have_the_same_archive(jars: Path) -> None:
    assert archive_file(jars) == archive_file(jars)
    assert jars.name in str(archive_file(jars))


def test_jars_that_were_copied_have_another(jars: Path, tmp_path: Path) -> None:
    before = archive_file(jars)
    copied = tmp_path / "elsewhere" / jars.name
    shutil.copytree(jars, copied, copy_function=shutil.copyfile)
    assert archive_file(copied) != before


def test_another_jar_has_another(jars: Path) -> None:
    before = archive_file(jars)
    (jars / "server.jar").write_text("another server.jar")
    os.utime(jars / "server.jar", (1_000_000_000, 1_000_000_000))
    larger = archive_file(jars)
    (jars / "tools.jar").write_text("tools")
    assert len({before, larger, archive_file(jars)}) == 3
