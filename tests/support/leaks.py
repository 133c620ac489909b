"""Where a secret must never turn up: statuses, Events, ConfigMaps, logs, the ledger, and the lists of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from support.cell import Cell

OURS = "kafkaclusters.kfleet.dev,kafkatopics.kfleet.dev,kafkausers.kfleet.dev"
KINDS = f"{OURS},configmaps,pods,services,persistentvolumeclaims,events,leases"


def places(cell: Cell, files: Iterable[Path] = ()) -> Iterator[tuple[str, str]]:
    """(where, text) of everything that people other than a Secret's readers may see."""
    yield from of_namespace(lambda *arguments: cell.kubectl(*arguments, check=arguments[0] != "logs"))
    yield from of_files((cell.operator.log, *files))
    yield from of_processes()


def of_namespace(kubectl: Callable[..., str]) -> Iterator[tuple[str, str]]:
    """Objects, and what pods said; `kubectl` runs in the namespace and returns what it prints, where
    a pod has no log what it complains of."""
    yield "objects", kubectl("get", KINDS, "-o", "yaml")
    for name in kubectl("get", "pods", "-o", "name").split():
        yield f"log of {name}", kubectl("logs", name, "--all-containers")


def of_files(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        yield str(file), file.read_bytes().decode(errors="replace")


def of_processes() -> Iterator[tuple[str, str]]:
    """Command lines and environments of this machine, now."""
    for process in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ"):
            try:
                text = (process / part).read_bytes().decode(errors="replace")
            except OSError:
                continue
            yield f"{part} of process {process.name}", text


def leaks(found: Iterable[tuple[str, str]], secrets: Iterable[str]) -> list[str]:
    """Places that hold one of the secrets; which one is not repeated."""
    wanted = list(secrets)
    return [where for where, text in found if any(secret in text for secret in wanted)]


def key_lines(pem: str) -> list[str]:
    """The lines of the private keys in a PEM text: each is a secret."""
    found, inside = [], False
    for line in pem.splitlines():
        if "PRIVATE KEY" in line:
            inside = line.startswith("-----BEGIN")
        elif inside:
            found.append(line)
    return found
