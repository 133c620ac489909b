"""Building the control plane, with a `go` that does what it is told instead of compiling for minutes."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from controlplane.sandbox import build
from controlplane.sandbox.errors import BuildError
from controlplane.sandbox.progress import Progress

GO = """#!/bin/sh
echo "$@" >>"$GOTMPDIR/../../calls"
[ "$GOTOOLCHAIN $GOWORK" = "local off" ] || exit 9
case $1 in
list) printf 'fmt\\nos\\n' ;;
build) echo fmt >&2; {outcome} ;;
esac
"""
WRITES = 'for argument; do [ "$last" = -o ] && echo binary >"$argument"; last=$argument; done'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KFLEET_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "NEEDED_BYTES", 0)
    monkeypatch.setattr(build, "POLL_SECONDS", 0.01)
    return tmp_path / "control-plane"


def use_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: str) -> None:
    program = tmp_path / "go"
    program.write_text(GO.replace("{outcome}", outcome))
    program.chmod(0o755)
    monkeypatch.setattr(build, "go_program", lambda: program)


def test_it_is_built_once_and_says_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_go(monkeypatch, tmp_path, WRITES)
    said = io.StringIO()
    programs = build.ensure_control_plane(Progress(said))
    assert programs == cache / build.build_key()
    assert {part: (programs / part).read_text() for part in build.PARTS} == dict.fromkeys(build.PARTS, "binary\n")
    assert "usually" in said.getvalue()
    assert "2 packages" in said.getvalue()
    calls = (cache / "calls").read_text()
    assert "gitVersion=v1.34.4" in calls
    assert build.ensure_control_plane(Progress(said)) == programs
    assert (cache / "calls").read_text() == calls, "the second time nothing is built"
    assert not list(cache.glob(".*.work")), "4 GB of build caches must not stay"


def test_a_failed_build_says_why_and_goes_on_later(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_go(monkeypatch, tmp_path, "echo 'no space left' >&2; exit 1")
    with pytest.raises(BuildError, match="no space left"):
        build.ensure_control_plane(Progress(io.StringIO()))
    assert not (cache / build.build_key()).exists()
    assert list(cache.glob(".*.work")), "what is compiled is kept for the next attempt"
    use_go(monkeypatch, tmp_path, WRITES)
    assert (build.ensure_control_plane(Progress(io.StringIO())) / "kubectl").exists()


def test_a_full_disk_is_said_before_anything_is_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "NEEDED_BYTES", 2**62)
    with pytest.raises(BuildError, match="needs 5 GB"):
        build.ensure_control_plane(Progress(io.StringIO()))


def test_the_key_follows_the_sources_and_the_toolchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "go"
    shutil.copytree(build.GO_MODULE, module)
    monkeypatch.setattr(build, "GO_MODULE", module)
    keys = [build.build_key()]
    assert build.build_key() == keys[0]
    for name in build.SOURCES:
        with (module / name).open("a") as file:
            file.write("// changed\n")
        keys.append(build.build_key())
    monkeypatch.setattr(build, "go_version", lambda: "1.99.0")
    keys.append(build.build_key())
    assert len(set(keys)) == len(keys)


def test_the_toolchain_is_the_wheels() -> None:
    assert build.go_program().is_file()
    assert "site-packages" in build.go_program().parts
    assert build.kubernetes_version() == "v1.34.4"


def test_heartbeats_are_sparse_without_a_terminal() -> None:
    said = io.StringIO()
    progress = Progress(said, beat_seconds=3600)
    for _ in range(100):
        progress.beat("still here")
    assert said.getvalue() == ""
    Progress(said, beat_seconds=0).beat("still here")
    assert said.getvalue() == "still here\n"
