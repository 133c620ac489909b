"""The canary as a user of a broker that denies by default: let in by the Secret's file, refused in one line, seen by
nobody. With TLS as well: tests/integration/test_docs_quickstart.py."""

from __future__ import annotations

import json
import secrets as randomness
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr
from support.cluster import LocalKafka
from support.leaks import leaks, of_processes
from support.scram_cluster import scram_cluster, scram_servers

from controlplane.domain.journal import JournalReader
from controlplane.domain.users.secret import LIBRDKAFKA, Identity, Login, contents

pytestmark = pytest.mark.kafka
TOPIC = "orders"
REAUTH_SECONDS = 2
PASSWORD = randomness.token_urlsafe(24)
SECONDS = 30


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with scram_cluster(tmp_path_factory.mktemp("canary"), version="4.3.1", reauth_ms=REAUTH_SECONDS * 1000) as kafka:
        client = AdminClient({"bootstrap.servers": kafka.bootstrap})
        client.create_topics([NewTopic(TOPIC, 3, 1)])[TOPIC].result(SECONDS)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        asked = [UserScramCredentialUpsertion(name, info, PASSWORD.encode()) for name in ("app", "writer", "nobody")]
        for made in client.alter_user_scram_credentials(asked).values():
            made.result(SECONDS)
        group = ResourceType.GROUP, "kfleet-canary-", ResourcePatternType.PREFIXED
        topic = ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL
        allowed = [
            ("app", topic, AclOperation.READ),
            ("app", topic, AclOperation.WRITE),
            ("app", group, AclOperation.DESCRIBE),
            ("writer", topic, AclOperation.WRITE),
        ]
        rules = [
            AclBinding(*resource, f"User:{name}", "*", operation, AclPermissionType.ALLOW)
            for name, resource, operation in allowed
        ]
        for made in client.create_acls(rules).values():
            made.result(SECONDS)
        yield kafka


def mounted(broker: LocalKafka, directory: Path, name: str, password: str = PASSWORD) -> Path:
    """A directory as a Secret is mounted."""
    login = Login(scram_servers(broker).split(","))
    for key, text in contents(login, Identity(name, SecretStr(password))).items():
        (directory / key).write_text(text)
    return directory


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "controlplane.cli.canary", "run", "--topic", TOPIC, *arguments]


def test_a_user_writes_and_reads_and_nobody_sees_its_password(broker: LocalKafka, tmp_path: Path) -> None:
    login, journal = mounted(broker, tmp_path, "app"), tmp_path / "run.jsonl"
    rest = ["--journal", str(journal), "--duration", str(2.5 * REAUTH_SECONDS), "--read", "end", "-o", "json"]
    process = subprocess.Popen(
        command("--config", str(login), *rest), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (journal.exists() and '["ack"' in journal.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    listed = list(of_processes())
    stdout, stderr = process.communicate(timeout=120)
    figures = json.loads(stdout)
    assert process.returncode == 0, stderr
    assert (figures["lost"], figures["duplicated"], figures["failed"], figures["complete"]) == (0, 0, 0, True)
    assert figures["consumed"] == figures["acknowledged"] > 1000

    reader = JournalReader(str(journal))
    list(reader.events(journal.read_text().splitlines(keepends=True)))
    assert reader.header is not None
    assert reader.header.protocol == "SASL_PLAINTEXT"
    assert reader.notes == [], "it needs no more rights than it has"

    assert any(str(login) in text for _, text in listed), "the canary was among the processes"
    logs = [(f"log of node {node}", pod.log_tail(10**7)) for node, pod in broker.pods.items()]
    seen = [("stdout", stdout), ("stderr", stderr), ("journal", journal.read_text()), *logs, *listed]
    # What pytest shows of a failed call are its arguments.
    found, control = leaks(seen, [PASSWORD]), leaks([("planted", f"--password={PASSWORD}"), *seen], [PASSWORD])
    assert found == []
    assert control == ["planted"], "the control"


@pytest.mark.parametrize(
    ("name", "password", "says"),
    [
        ("app", "x" * 32, "does not let it in"),
        ("mallory", PASSWORD, "does not let it in"),
        ("nobody", PASSWORD, "allow its user Read and Write on the topic"),
        ("writer", PASSWORD, "Read not allowed"),
        ("", "", "whether it wants a login (--config)"),
    ],
    ids=["wrong password", "unknown user", "no rule", "may not read", "no login"],
)
def test_who_may_not_is_told_in_one_line(
    broker: LocalKafka, tmp_path: Path, name: str, password: str, says: str
) -> None:
    journal = tmp_path / "run.jsonl"
    how = ["--config", str(mounted(broker, tmp_path, name, password) / LIBRDKAFKA)] if name else []
    how = how or ["--bootstrap", scram_servers(broker)]
    done = subprocess.run(
        command(*how, "--journal", str(journal), "--connect-timeout", "3"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert says in line
    assert not password or password not in line
    assert not journal.exists()
