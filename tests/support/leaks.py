"""Where a secret must never turn up: objects of every kind but Secrets, Secrets' own metadata, logs, the ledger, and
the lists of processes. In base64 as well, which is how a Secret's body has it wherever that is repeated.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from support.cell import Cell

_RUN = r"[\w+/=-]"
"""What passwords, lines of keys and base64 are made of."""


def places(cell: Cell, files: Iterable[Path] = ()) -> Iterator[tuple[str, str]]:
    """(where, text) of everything that people other than a Secret's readers may see."""
    yield from of_objects(cell.kubectl)
    yield from of_pods(lambda *arguments: cell.kubectl(*arguments, check=arguments[0] != "logs"))
    yield from of_files((cell.operator.log, *files))
    yield from of_processes()


def of_objects(kubectl: Callable[..., str]) -> Iterator[tuple[str, str]]:
    """Of every kind that the API server has, in every namespace and in none; `kubectl` returns what it prints."""
    kinds = set(kubectl("api-resources", "--verbs=list", "-o", "name").split())
    assert kinds >= {"secrets", "events", "configmaps", "kafkausers.kfleet.dev", "approvals.kfleet.dev"}
    yield "objects", kubectl("get", ",".join(sorted(kinds - {"secrets"})), "--all-namespaces", "-o", "yaml")
    yield "metadata of Secrets", metadata(kubectl("get", "secrets", "--all-namespaces", "-o", "json"))


def of_pods(kubectl: Callable[..., str]) -> Iterator[tuple[str, str]]:
    """What pods said; `kubectl` runs in their namespace, and returns what it complains of where a pod has no log."""
    for name in kubectl("get", "pods", "-o", "name").split():
        yield f"log of {name}", kubectl("logs", name, "--all-containers")


def metadata(listed: str) -> str:
    """Of a list of Secrets in JSON, all but what they are for."""
    kept = [
        {key: item[key] for key in item if key not in ("data", "stringData")} for item in json.loads(listed)["items"]
    ]
    return json.dumps(kept)


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
    """Places that hold one of the secrets, as it is or within something in base64; which one is not repeated.

    Bind what it returns before you assert anything of it: pytest shows the arguments of a call that it failed on.
    """
    wanted = {form for secret in secrets for form in forms(secret)}
    assert wanted, "no secret to look for"
    runs = re.compile(f"{_RUN}{{{min(map(len, wanted))},}}", re.ASCII)
    others = {form for form in wanted if not runs.fullmatch(form)}

    def holds(text: str) -> bool:
        # Most of a log is too short a word to be any of them, or was said before.
        words = "\n".join(set(runs.findall(text)))
        return any(form in words for form in wanted - others) or any(form in text for form in others)

    return [where for where, text in found if holds(text)]


def forms(secret: str) -> Iterator[str]:
    """Itself, and what stands in the base64 of any text that it is a part of: three groups of characters, by how many
    bytes are before it modulo three. Those at the ends, which have bits of its neighbours, are left out."""
    yield secret
    for before in range(3):
        data = bytes(before) + secret.encode()
        yield base64.b64encode(data).decode()[(0, 2, 3)[before] : len(data) * 8 // 6]


def key_lines(pem: str) -> list[str]:
    """The lines of the private keys in a PEM text: each is a secret."""
    found, inside = [], False
    for line in pem.splitlines():
        if "PRIVATE KEY" in line:
            inside = line.startswith("-----BEGIN")
        elif inside:
            found.append(line)
    return found
