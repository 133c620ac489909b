"""A newcomer's way into examples/quickstart, as docs/clusters.md, users.md, access.md and canary.md tell it: the very
commands, in a shell, against real brokers with TLS. What they print and leave behind has no password in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cell import Cell, make_cell
from support.leaks import key_lines, leaks, of_files
from support.sandbox import Sandbox
from support.secure_clients import secret

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.adapters.kafka.witness import ClientWitnesses
from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic
from controlplane.domain.rolling import canary
from controlplane.ports import ClientTls
from controlplane.sandbox.images import resolve
from controlplane.services.cluster.clients import canary_topic

pytestmark = [pytest.mark.sandbox, pytest.mark.kafka, pytest.mark.timeout(1800)]
CHECKOUT = Path(__file__).parents[2]
SECONDS = 900.0
BROKERS = (3, 4, 5)
"""Their ids: the pool of controllers comes first."""
TOOLS = {
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}
"""Kafka's scripts and the classes that they start."""


def blocks(page: str) -> list[str]:
    """All `sh` blocks of a page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", (CHECKOUT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)


class Shell:
    """One bash a call, all in one directory, with everything on its PATH that the pages take for granted."""

    def __init__(self, cell: Cell, directory: Path) -> None:
        self.directory, programs = directory, directory / "bin"
        programs.mkdir()
        (programs / "kubectl").symlink_to(cell.kubectl_binary)
        (directory / "examples").symlink_to(CHECKOUT / "examples")
        env = resolve("kfleet/kafka:4.2.0").env
        for name, main in TOOLS.items():
            java = [
                f"{env['JAVA_HOME']}/bin/java",
                "-Xmx128m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                f"{env['KAFKA_LIBS']}/*",
            ]
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join([*java, main])} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        ledger = cell.operator.settings["KFLEET_LEDGER_URL"]
        self._environment = os.environ | {"PATH": path, "KUBECONFIG": str(cell.kubeconfig), "KFLEET_LEDGER_URL": ledger}
        self.said = ""

    def run(self, script: str, directory: str = ".") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory / directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.said += done.stdout + done.stderr
        return done

    def follow(self, script: str, directory: str = ".") -> str:
        """What it prints; it has to succeed."""
        done = self.run(script, directory)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def cell(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """An operator for namespace kafka; the pages make all the rest, and enrol it."""
    directory = tmp_path_factory.mktemp("quickstart")
    ledger = {"KFLEET_LEDGER_URL": f"sqlite:///{directory}/ledger.db"}
    with make_cell(sandbox, "quickstart", directory, "kafka", enrolled=False, settings=ledger) as made:
        made.name = "quickstart"
        yield made


def test_the_pages_lead_to_a_login_that_works(cell: Cell, tmp_path: Path) -> None:
    shell = Shell(cell, tmp_path)
    declare, take, tools = blocks("clusters.md")
    assert "9093" in shell.follow(declare), cell.dump()
    shell.follow(take)
    assert "hello" in shell.follow(tools).splitlines()
    files = sorted((tmp_path / "orders-app").iterdir())
    assert [file.name for file in files] == ["bootstrap.servers", "client.properties", "librdkafka.json"]
    assert (tmp_path / "orders-app").stat().st_mode & 0o077 == 0

    (measure,) = blocks("canary.md")
    assert re.search(r"^lost +0$", shell.follow(measure), re.MULTILINE)
    header = json.loads((tmp_path / "run.jsonl").read_text().partition("\n")[0])
    assert header["protocol"] == "SASL_SSL"
    through_a_pipe = (
        "kubectl -n kafka get secret orders-app -o go-template='{{index .data \"librdkafka.json\" | base64decode}}'"
    )
    shell.follow(f"kfleet-canary run --config <({through_a_pipe}) --topic orders --journal two.jsonl --duration 1")

    refused = shell.run(
        'kafka-topics.sh --bootstrap-server "$(cat orders-app/bootstrap.servers)" --create --topic mine '
        "--command-config orders-app/client.properties"
    )
    assert refused.returncode != 0
    assert "Authorization failed" in refused.stdout + refused.stderr
    stranger = shell.run(
        'kfleet-canary run --bootstrap "$(cat orders-app/bootstrap.servers)" --topic orders --journal no.jsonl'
    )
    assert (stranger.returncode, "wants a login (--config)" in stranger.stderr) == (1, True)

    enrol, authority = blocks("access.md")
    shell.follow("kubectl -n kafka delete rolebinding kfleet-secrets")
    shell.follow(enrol)
    shell.follow(authority)
    assert "BEGIN CERTIFICATE" in (tmp_path / "ca.crt").read_text()

    more, consume, rotate, revoke, look = blocks("users.md")
    shell.follow(more)
    passwords = [secret(cell, name)["password"] for name in ("orders-app", "invoicing")]
    mount(cell, "invoicing", tmp_path)
    shell.follow(consume, "invoicing")
    shell.follow(rotate.strip() + " --yes")
    passwords.append(secret(cell, "invoicing")["password"])
    assert shell.follow(look).count("invoicing") > 1
    shell.follow(revoke.strip() + " --confirm invoicing")
    assert shell.run(look).returncode == 1, "a user that was revoked has no credentials"

    assert len(set(passwords)) == 3
    keys = key_lines(secret(cell, "quickstart-operator-tls")["tls.key"])
    seen = [("what was said", shell.said), *of_files([tmp_path / "run.jsonl", cell.operator.log])]
    # What pytest shows of a failed call are its arguments.
    found, control = (
        leaks(seen, [*passwords, *keys]),
        leaks([*seen, ("planted", f"password={passwords[0]}")], passwords),
    )
    assert found == []
    assert control == ["planted"], "the control"


async def test_the_operators_own_canary_gets_in_by_its_certificate(cell: Cell) -> None:
    """Where no user is declared for it, through the port of the nodes; and by no other authority's certificate."""
    own = secret(cell, "quickstart-operator-tls")
    tls = ClientTls(own["ca.crt"], own["tls.crt"], own["tls.key"])
    servers = [f"{cell.pods()[node]['status']['podIP']}:9091" for node in BROKERS]
    admins, witness = (
        KafkaPythonAdmins(threads=2, timeout=10.0, voter_caught_up_seconds=2.0),
        ClientWitnesses(threads=2),
    )
    admin = admins.get("kafka/quickstart", servers, tls)
    found, _ = await admin.observe()
    topic = canary.new_topic(found.brokers)
    assert topic is not None
    cell.operator.stop()  # it would delete the topic: there is no upgrade
    await canary_topic(admin, CreateCanaryTopic(topic))
    try:
        leaders = [replicas[0] for replicas in topic.assignments]
        seen = await watched(witness, servers, leaders, tls, lambda seen: seen.canary.attempts - seen.canary.errors)
        assert {one.broker for one in seen.canary.brokers} == set(BROKERS)
        await witness.forget("kafka/quickstart")
        pki = CryptographyPki(SystemClock())
        pair = pki.issue(pki.make_authority("quickstart cluster CA", 3600), Leaf("operator", UNIT), 3600)
        stranger = ClientTls(own["ca.crt"], pair.certificate, pair.key)
        seen = await watched(witness, servers, leaders, stranger, lambda seen: seen.canary.errors)
        assert seen.canary.attempts == seen.canary.errors
    finally:
        await witness.close()
        await canary_topic(admin, DeleteCanaryTopic())
        await admins.close()
        cell.operator.start()


async def watched(
    witness: ClientWitnesses,
    servers: list[str],
    leaders: list[int],
    tls: ClientTls,
    counted: Callable[[Any], int],
) -> Any:
    """What the operator sees once it counts ten of them."""
    deadline = time.monotonic() + 120
    while True:
        seen = await witness.look("kafka/quickstart", servers, leaders, time.time(), tls)
        if seen.canary is not None and counted(seen) >= 10:
            return seen
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.5)


def mount(cell: Cell, name: str, directory: Path) -> None:
    """The Secret as a pod has it."""
    (directory / name).mkdir()
    for key, text in secret(cell, name).items():
        (directory / name / key).write_text(text)
