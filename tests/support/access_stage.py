"""The stage of `make campaign-access`, and of what `make test` shows of it: clusters with TLS, their users, and what is
kept of each scenario.

A scenario passes when it came to its end as written and the clients that ran beside it had nothing but retried requests
(`access_verdict.complaints`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from support.access_verdict import SCENARIOS, complaints
from support.audit import OPERATOR_USER, log_files
from support.campaign import PATIENT, Result
from support.cell import Cell, combined_cluster, make_cell, topic
from support.doors import Doors, doors_of, pki
from support.following import Mounts, Steady, records
from support.given import Giver, edit_secret
from support.hidden import Hidden
from support.hosts_file import names_of
from support.leaks import leaks, places
from support.roll_witness import Stops
from support.sandbox import Sandbox
from support.secure_clients import secret
from support.supervised import Supervisor, supervised
from support.users import rule, user

from controlplane.ports import KeyPair

KFLEET = Path(sys.executable).parent / "kfleet"
VERSION = "4.3.1"
USERS = "kafkausers.kfleet.dev"
CA_SECONDS = 600
LONG = "36000"
ORDINARY = {
    "KFLEET_AUTHORITY_LIFETIME": str(CA_SECONDS),
    "KFLEET_AUTHORITY_RENEW_BEFORE": "1",
    "KFLEET_AUTHORITY_OVERLAP": "10",
    "KFLEET_CERTIFICATE_LIFETIME": LONG,
    "KFLEET_CERTIFICATE_RENEW_BEFORE": "7200",
    "KFLEET_CERTIFICATE_RESTART_BEFORE": "30",
    "KFLEET_CERTIFICATE_WARN_BEFORE": "20",
    "KFLEET_USER_CERTIFICATE_LIFETIME": LONG,
}
"""Authorities of ten minutes that nobody follows before the campaign asks for it."""
LISTENERS = [
    {"name": "passwords", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}},
    {"name": "certificates", "port": 9094, "tls": True, "authentication": {"type": "tls"}},
]
BOUGHT = "bought"
GIVEN = {"name": "given", "port": 9095, "tls": True, "authentication": {"type": "scram-sha-512"}} | {
    "certificateSecretRef": {"name": BOUGHT}
}
OUTSIDE = [
    {"name": "nodeport", "port": 9096, "type": "NodePort", "tls": True, "authentication": {"type": "scram-sha-512"}},
    {"name": "balanced", "port": 9097, "type": "LoadBalancer", "tls": True, "authentication": {"type": "tls"}},
]
MEMBERS = {"app": "passwords", "cert": "certificates", "shop": "given", "porter": "nodeport", "far-cert": "balanced"}
"""A user of each listener, who stays."""
LEAVERS = {f"leaver-{door}": door for door in MEMBERS.values()}
"""A user of each listener, who is revoked."""


@dataclass
class Scene:
    """One scenario under way: what it measured, and what speaks against it."""

    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def fared(self, read: Mapping[str, int], *clients: Steady) -> None:
        traffic = self.figures.setdefault("traffic", {})
        for one in clients:
            traffic[one.name] = account = one.account(read)
            self.problems += [f"{one.name}: {wrong} {account['why']}" for wrong in complaints(account)]

    def check(self, what: str, *, ok: bool) -> None:
        """A thing that was asked for, whether it was so, in the record."""
        self.figures.setdefault("shown", []).append(what)
        if not ok:
            self.problems.append(f"not so: {what}")


@contextmanager
def nothing_against() -> Iterator[Scene]:
    """A scene in a test: at its end nothing may speak against it."""
    scene = Scene()
    yield scene
    assert scene.problems == [], scene.problems


@dataclass
class Place:
    """A cluster that is up, with all that is around it."""

    cell: Cell
    sandbox: Sandbox
    supervisor: Supervisor
    mounts: Mounts
    ledger: Path
    giver: Giver
    """Of the certificate of listener `given`."""
    said: str = ""
    """Of the first one that was given, which was for another host."""

    def operate(self, **settings: str) -> None:
        """The operator, with these settings as well."""
        self.cell.operator.settings |= {f"KFLEET_{key}": value for key, value in settings.items()}
        self.supervisor.restart()

    def kill_operator(self) -> None:
        lives = self.supervisor.restarts
        self.cell.operator.signal(signal.SIGKILL)
        self.cell.wait("another operator", lambda: self.supervisor.restarts > lives, 60)

    def stops(self) -> Stops:
        return Stops(self.sandbox.paths.audit_log, OPERATOR_USER, self.cell.namespace)

    def doors(self) -> Doors:
        return doors_of(self.cell)

    def read(self, name: str = "orders") -> Counter[str]:
        doors = self.doors()
        return records(doors.replication, doors.operator, name)

    def kfleet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--kubeconfig", str(self.cell.kubeconfig), "-n", self.cell.namespace]
        env = os.environ | {"KFLEET_LEDGER_URL": self.cell.operator.settings["KFLEET_LEDGER_URL"]}
        return subprocess.run(
            [KFLEET, *arguments, *where], env=env, capture_output=True, text=True, timeout=300, check=False
        )

    def user(self, name: str) -> dict[str, str]:
        return secret(self.cell, name)

    def login(self, name: str) -> Hidden:
        """A user's settings of librdkafka, without where its Secret says that the brokers are."""
        found = json.loads(self.user(name)["librdkafka.json"])
        return Hidden({key: value for key, value in found.items() if key != "bootstrap.servers"})

    def user_reason(self, name: str, kind: str = "Ready") -> str:
        found = self.cell.get(USERS, name)
        current = [one for one in found.get("status", {}).get("conditions", []) if one["type"] == kind]
        generation = found["metadata"]["generation"]
        return next((str(one["reason"]) for one in current if one["observedGeneration"] == generation), "")

    def wait_users(self, *names: str) -> None:
        for name in names:

            def declared(name: str = name) -> bool:
                return self.user_reason(name) == "AsDeclared"

            self.cell.wait(f"user {name}", declared, 90)

    def edit_secret(self, name: str, data: Mapping[str, str]) -> None:
        edit_secret(self.cell, name, data)

    def serves(self, pair: KeyPair, port: int = 9095) -> bool:
        """Whether every broker shows this certificate on that port."""
        wanted = pki.read(pair.certificate)[0].fingerprint
        pods = [pod["status"]["podIP"] for pod in self.cell.pods().values()]
        return all(served(address, port) == wanted for address in pods)

    def leaks(self, planted: Sequence[str] = ()) -> list[str]:
        """Places that hold a secret which ever was in one of the Secrets, or else one of those planted."""
        files = [*sorted(self.ledger.parent.iterdir()), *log_files(self.sandbox.paths.audit_log)]
        return leaks(places(self.cell, files), planted or self.mounts.seen)


def served(address: str, port: int) -> str:
    """Fingerprint of the certificate that is shown there; empty where nobody answers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), 5) as raw,
            context.wrap_socket(raw, server_hostname=address) as wrapped,
        ):
            der = wrapped.getpeercert(binary_form=True)
    except OSError:
        return ""
    return pki.read(ssl.DER_cert_to_PEM_cert(der or b""))[0].fingerprint


class Hall:
    """Clusters, one at a time, and the results of the scenarios on them."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox, self._directory = sandbox, directory
        self.results: list[Result] = []
        self.controls: list[str] = []
        """What was broken on purpose and was found."""
        self._around = ExitStack()
        self._name = ""
        self._place: Place | None = None

    def end(self) -> None:
        self._around.close()
        self._around, self._place = ExitStack(), None

    @contextmanager
    def scenario(self, name: str) -> Iterator[Scene]:
        """At its end the verdict, which it asserts."""
        assert name in SCENARIOS, name
        scene, how, began = Scene(), "Ended", time.monotonic()
        try:
            yield scene
        except BaseException as error:
            how = f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
            raise
        finally:
            problems = [*([] if how == "Ended" else [how]), *scene.problems]
            figures = {"seconds": round(time.monotonic() - began, 1)} | scene.figures
            result = Result(name, "; ".join(problems) or how, not problems, figures)
            self.results.append(result)
            print(json.dumps(result.__dict__, indent=1))
        assert result.passed, result.outcome

    def combined(self) -> Place:
        """Three combined nodes with ACLs and five listeners: one has a certificate that was given, two are for clients
        outside. Each has a user who stays and one who leaves."""
        place = self._made("combined", ORDINARY)
        if place is None:
            assert self._place is not None
            return self._place
        cell = place.cell
        place.giver.give(hosts=("*.cell-nodes.example.com",))
        may_write, users = rule("orders", "Write", "Read"), MEMBERS | LEAVERS
        listeners: list[dict[str, Any]] = [*LISTENERS, GIVEN, *OUTSIDE]
        kinds = {item["name"]: item["authentication"]["type"] for item in listeners}
        cell.apply(
            combined_cluster(
                version=VERSION,
                security={"nodes": "MutualTls"},
                authorization={"type": "Standard"},
                listeners=listeners,
            ),
            *(topic(name, partitions=3, config={"min.insync.replicas": 2}) for name in ("orders", "secrets")),
            *(user(name, may_write, kind=kinds[door], listener=door) for name, door in users.items()),
        )
        cell.wait("three addresses", lambda: len([p for p in cell.pods().values() if p["status"].get("podIP")]) == 3)
        place.said = cell.wait("the given certificate refused", lambda: said(cell, "Ready", "is not for "))
        place.giver.give()
        cell.wait_ready(240)
        cell.wait_topic("orders")
        place.wait_users(*users)
        return place

    def apart(self) -> Place:
        """Three controllers and two brokers, addressed by name, without authorization."""
        place = self._made("apart", ORDINARY | {"KFLEET_ADDRESSING": "DNS", "KFLEET_AUTHORITY_LIFETIME": LONG})
        if place is None:
            assert self._place is not None
            return self._place
        cell = place.cell
        self._around.enter_context(names_of(cell))
        pool = combined_cluster()["spec"]["nodePools"][0]
        cell.apply(
            combined_cluster(
                version=VERSION,
                security={"nodes": "MutualTls"},
                listeners=LISTENERS,
                nodePools=[
                    pool | {"name": "controllers", "roles": ["Controller"]},
                    pool | {"name": "brokers", "roles": ["Broker"], "replicas": 2, "zones": ["a", "b"]},
                ],
            ),
            *(topic(name, partitions=2, replicas=2) for name in ("orders", "open")),
            user("app", rule("orders", "Write"), listener="passwords"),
            user("cert", rule("orders", "Write"), kind="tls"),
            user("guest", listener="passwords"),
        )
        cell.wait_ready(300)
        cell.wait_topic("orders")
        cell.wait_topic("open")
        for name in ("app", "cert", "guest"):
            cell.wait(f"credentials of {name}", partial(place.mounts.settings, name), 60)
        return place

    def _made(self, name: str, settings: Mapping[str, str]) -> Place | None:
        """None where the cluster of that name is there already; another one goes."""
        if self._place is not None and self._name == name:
            return None
        self.end()
        directory = self._directory / name
        (directory / "ledger").mkdir(parents=True)
        ledger = directory / "ledger" / "ledger.db"
        cell = self._around.enter_context(make_cell(self.sandbox, f"access-{name}", directory))
        cell.operator.settings |= PATIENT | dict(settings) | {"KFLEET_LEDGER_URL": f"sqlite:///{ledger}"}
        supervisor = self._around.enter_context(supervised(cell.operator))
        supervisor.restart()
        mounts = self._around.enter_context(Mounts(cell))
        giver = Giver(cell, BOUGHT, "given")
        self._name, self._place = name, Place(cell, self.sandbox, supervisor, mounts, ledger, giver)
        return self._place


def said(cell: Cell, kind: str, words: str) -> str:
    """The condition's message if it is False and has these words."""
    found = cell.condition(kind)
    told = str(found.get("message", ""))
    return f"{found['reason']}: {told}"[:300] if found["status"] == "False" and words in told else ""
