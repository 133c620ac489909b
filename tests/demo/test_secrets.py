"""`make demo` as continuous integration runs it, seen by somebody who may see everything but Secrets: what it prints,
every process of the machine while it runs, and all that it leaves. No password and no key may be found there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.leaks import key_lines, leaks, of_files, of_objects, of_pods, of_processes

from controlplane.cli.sandbox import paths_of

pytestmark = [pytest.mark.sandbox, pytest.mark.kafka, pytest.mark.timeout(7200)]
CHECKOUT = Path(__file__).parents[2]
KFLEET = Path(sys.executable).parent / "kfleet"
SANDBOX = os.environ.get("SANDBOX", "default")
USER = "orders-app"
LOOK_SECONDS = 1.0


@contextmanager
def watched_processes() -> Iterator[dict[str, str]]:
    """Text to where it was seen: the command line and environment of every process that lives for a second."""
    seen: dict[str, str] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            for where, text in of_processes():
                seen.setdefault(text, where)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def kubectl(*arguments: str) -> str:
    done = subprocess.run(
        [KFLEET, "sandbox", "kubectl", "--name", SANDBOX, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "logs" in arguments, done.stderr
    return done.stdout if done.returncode == 0 else done.stderr


def pods_of(name: str) -> Iterator[tuple[str, str]]:
    return of_pods(lambda *arguments: kubectl("-n", name, *arguments))


def secrets_of(namespace: str) -> dict[str, dict[str, str]]:
    found = json.loads(kubectl("-n", namespace, "get", "secrets", "-o", "json"))["items"]
    return {
        item["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in item["data"].items()}
        for item in found
    }


def test_the_demo_shows_no_secret(tmp_path: Path) -> None:
    report = Path(os.environ.get("REPORT") or tmp_path / "demo.json")
    printed = []
    with watched_processes() as processes:
        command = ["make", "demo", f"SANDBOX={SANDBOX}", f"REPORT={report}"]
        with subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                printed.append(line)
    assert process.returncode == 0
    figures = json.loads(report.read_text())
    assert (figures["lost"], figures["duplicated"]) == (0, 0)

    root = paths_of(SANDBOX).root
    secrets = secrets_of("kafka")
    password = secrets[USER]["password"]
    hidden = [password, *(line for held in secrets.values() for text in held.values() for line in key_lines(text))]
    known = len(hidden)
    assert known > 20, "a password, and the keys of six nodes, two authorities and the operator"

    left = sorted(path for path in (root / "demo").rglob("*") if path.is_file())
    assert {path.suffix for path in left} == {".jsonl", ".log", ".json"}, "the files of the Secret are gone"
    (journal, *_) = [path for path in reversed(left) if path.suffix == ".jsonl"]
    with journal.open() as lines:
        assert json.loads(next(lines))["protocol"] == "SASL_SSL"
    seen = [
        ("what it printed", "".join(printed)),
        *of_files([report, *left, *sorted((root / "logs").iterdir())]),
        *of_objects(kubectl),
        *pods_of("kafka"),
        *pods_of("kfleet"),
        *((where, text) for text, where in processes.items()),
    ]
    assert any("controlplane.cli.canary" in text and "--config" in text for text in processes), "the canary was seen"
    # What pytest shows of a failed call are its arguments.
    found, control = leaks(seen, hidden), leaks([("planted", f"canary --password {password}"), *seen], hidden)
    assert found == []
    assert control == ["planted"], "the control"
