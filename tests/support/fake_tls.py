"""What nodes serve on their listeners, for unit tests: what lay in their Secret when they last read it."""

from __future__ import annotations

import base64
import functools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from support.fake_kube import FakeKube

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.pem import public_part
from controlplane.domain.access.pki import Certificate, Inspection
from controlplane.domain.access.values import ClientTls
from controlplane.ports import Clock, KeyPair
from controlplane.services.access.observe import Certificates, lifetimes
from controlplane.settings import OperatorSettings


@dataclass(frozen=True)
class Read:
    """A node's files as it read them at one moment: its certificate and what it trusts, PEM."""

    leaf: str
    trust: str
    fingerprint: str


@functools.cache
def signed(leaf: str, authorities: str) -> bool:
    """Whether one of the authorities signed it. Apart from the code under test."""
    certificate = x509.load_pem_x509_certificate(leaf.encode())
    for authority in x509.load_pem_x509_certificates(authorities.encode()):
        with suppress(InvalidSignature, ValueError):
            certificate.verify_directly_issued_by(authority)
            return True
    return False


@dataclass
class FakeServing:
    """Implements ports.CertificateProbe over pods whose name and address end in their node's id."""

    kube: FakeKube
    pki: CryptographyPki
    now: dict[int, str] = field(default_factory=dict)
    """Fingerprint by node."""
    started: dict[int, Read] = field(default_factory=dict)
    """What each node's pod began with, which it shows and trusts as a client of the controllers."""
    read: dict[int, Read] = field(default_factory=dict)
    """What each node's listeners show and trust."""
    pods: dict[int, str] = field(default_factory=dict)

    async def serving(self, host: str, port: int, tls: ClientTls) -> str | None:
        assert "PRIVATE KEY" in tls.key
        pod = host.partition(".")[0].rpartition("-")[2] if host.endswith(".svc") else host.rpartition(".")[2]
        return self.now.get(int(pod))

    def in_secret(self, node: int) -> Read | None:
        secret = self.kube.objects.get(("secrets", "kafka", f"cell-nodes-{node}-tls"))
        if secret is None:
            return None
        data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        pem = public_part(data["node.pem"])
        return Read(pem, data["cluster-ca.crt"], self.pki.read(pem)[0].fingerprint) if pem else None

    def start(self, pod: dict[str, Any], node: int) -> bool:
        """Whether the pod has what it waits for; it reads it once."""
        wants = any("secret" in volume for volume in pod["spec"]["volumes"])
        found = self.in_secret(node)
        if wants and found is None:
            return False
        if found is not None and self.pods.get(node) != pod["metadata"]["uid"]:
            self.pods[node], self.started[node] = pod["metadata"]["uid"], found
            self.reload(node)
        return True

    def reload(self, node: int) -> None:
        if found := self.in_secret(node):
            self.now[node], self.read[node] = found.fingerprint, found

    def strangers(self, published: str, operator: str) -> list[str]:
        """Who would not be let in by whom; `published` is what clients trust, `operator` the operator's certificate."""
        found = [
            f"clients do not trust node {node}" for node, one in self.read.items() if not signed(one.leaf, published)
        ]
        for node, one in self.read.items():
            found += [f"node {node} refuses the operator"] * (not signed(operator, one.trust))
            for other, started in self.started.items():
                found += [f"node {node} refuses node {other}"] * (not signed(started.leaf, one.trust))
                found += [f"node {other} does not trust node {node}"] * (not signed(one.leaf, started.trust))
        return found


class PkiThatRemembers(CryptographyPki):
    """What a text says is found out once: half of what unit tests of certificates compute would be that."""

    def read(self, pem: str) -> tuple[Certificate, ...]:
        return _read(pem)

    def inspect(self, pair: KeyPair, authorities: str) -> Inspection:
        return _inspected(pair, authorities)


_reader = CryptographyPki(SystemClock())


@functools.cache
def _read(pem: str) -> tuple[Certificate, ...]:
    return _reader.read(pem)


@functools.cache
def _inspected(pair: KeyPair, authorities: str) -> Inspection:
    return _reader.inspect(pair, authorities)


def tools(kube: FakeKube, clock: Clock, settings: OperatorSettings) -> tuple[Certificates, FakeServing]:
    """Real certificates, and nodes that serve them."""
    pki = PkiThatRemembers(clock)
    serving = FakeServing(kube, pki)
    return Certificates(pki, serving, clock, lifetimes(settings), by_name=settings.addressing == "DNS"), serving
