"""An API server with nothing around it (etcd and kube-apiserver): for what schemas, CEL, policies and RBAC decide.

No operator acts on what a test creates, and CRDs can be added and removed freely; a sandbox is for everything else.

    with running_api_server(tmp_path) as server:
        server.kubectl("apply", "-f", "charts/kfleet")
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from support.pod import loopback_network

from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.progress import Progress

START_SECONDS = 120.0
COMMAND_SECONDS = 180.0
API_PORT, CLIENT_PORT, PEER_PORT = 6443, 2379, 2380


class ServerDiedError(RuntimeError):
    """A part exited or did not answer in time; the message carries the end of its log."""


@dataclass(frozen=True)
class Answer:
    """What a kubectl call said; `text` is both streams."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


@dataclass(frozen=True)
class ApiServer:
    programs: Path
    kubeconfig: Path
    people: Mapping[str, Path] = field(default_factory=dict)
    """Kubeconfigs of the `users` it was started with: real identities, with no right but what a test binds."""

    @property
    def environment(self) -> dict[str, str]:
        """For a kubectl. What it remembers of servers goes by their addresses, which are used again."""
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.kubeconfig.with_name("kubectl-cache"))}

    def as_user(self, name: str) -> ApiServer:
        """The same server for somebody else."""
        return replace(self, kubeconfig=self.people[name])

    def with_token(self, token: str, name: str) -> ApiServer:
        """The same server for whoever `token` belongs to, such as a ServiceAccount; `name` names its kubeconfig."""
        document = yaml.safe_load(self.kubeconfig.read_text())
        document["users"] = [{"name": "u", "user": {"token": token}}]
        kubeconfig = self.kubeconfig.with_name(f"{name}.kubeconfig.yaml")
        kubeconfig.write_text(yaml.safe_dump(document))
        return replace(self, kubeconfig=kubeconfig)

    def try_kubectl(self, *arguments: str, objects: Sequence[dict[str, Any]] = ()) -> Answer:
        """Run kubectl; `objects` go to its standard input as YAML (use with `-f -`)."""
        done = subprocess.run(
            [str(self.programs / "kubectl"), *arguments],
            env=os.environ | self.environment,
            input=yaml.safe_dump_all(objects) if objects else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def kubectl(self, *arguments: str, objects: Sequence[dict[str, Any]] = ()) -> str:
        """As `try_kubectl`, and it must succeed; returns standard output."""
        answer = self.try_kubectl(*arguments, objects=objects)
        assert answer.code == 0, f"kubectl {' '.join(arguments)}: {answer.text}"
        return answer.stdout

    def until(self, *arguments: str, objects: Sequence[dict[str, Any]] = (), says: str = "") -> Answer:
        """Repeat a call that changes nothing until it answers with `says` (default: until it succeeds)."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            answer = self.try_kubectl(*arguments, objects=objects)
            if (says in answer.text) if says else answer.code == 0:
                return answer
            assert time.monotonic() < deadline, f"kubectl {' '.join(arguments)} never said {says!r}: {answer.text}"


@contextmanager
def running_api_server(root: Path, *, users: Sequence[str] = ()) -> Iterator[ApiServer]:
    """Start both parts under `root`; on leaving, both have ended."""
    programs = ensure_control_plane(Progress())
    # Not ports of 127.0.0.1 that are free now: the API server takes seconds until it binds its own.
    host = f"{loopback_network()}.1"
    client, peer = f"http://{host}:{CLIENT_PORT}", f"http://{host}:{PEER_PORT}"
    token = secrets.token_hex(16)
    tokens = {name: secrets.token_hex(16) for name in users}
    (root / "pki").mkdir(parents=True)
    lines = [f"{token},admin,admin,system:masters", *(f"{tokens[name]},{name},{name}" for name in users)]
    (root / "pki" / "tokens.csv").write_text("\n".join(lines) + "\n")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (root / "pki" / "sa.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    people = {name: root / f"{name}.kubeconfig.yaml" for name in users}
    for name, kubeconfig in people.items():
        kubeconfig.write_text(_kubeconfig(host, tokens[name]))
    server = ApiServer(programs, root / "kubeconfig.yaml", people)
    server.kubeconfig.write_text(_kubeconfig(host, token))
    etcd = [
        *(str(programs / "etcd"), "--data-dir", str(root / "etcd"), "--unsafe-no-fsync"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    ]
    api = [
        *(str(programs / "kube-apiserver"), "--etcd-servers", client),
        *("--bind-address", host, "--secure-port", str(API_PORT), "--cert-dir", str(root / "pki")),
        *("--token-auth-file", str(root / "pki" / "tokens.csv"), "--authorization-mode", "RBAC"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-account-key-file", str(root / "pki" / "sa.key")),
        *("--service-account-signing-key-file", str(root / "pki" / "sa.key")),
        *("--service-cluster-ip-range", "127.96.0.0/16", "--endpoint-reconciler-type", "none"),
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in (("etcd", etcd), ("kube-apiserver", api)):
            with (root / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=root, start_new_session=True)
                )
        _wait_ready(server, started[1], root / "kube-apiserver.log")
        yield server
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.try_kubectl("get", "--raw", "/readyz").code != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerDiedError(f"kube-apiserver is not ready: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def _kubeconfig(host: str, token: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {"server": f"https://{host}:{API_PORT}", "insecure-skip-tls-verify": True},
                }
            ],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
            "current-context": "c",
        }
    )
