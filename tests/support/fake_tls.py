"""What nodes serve on their listeners, for unit tests: what lay in their Secret when they last read it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from support.fake_kube import FakeKube

from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.values import ClientTls
from controlplane.ports import Clock
from controlplane.services.access.observe import Certificates, lifetimes
from controlplane.services.access.secrets import public_part
from controlplane.settings import OperatorSettings


@dataclass
class FakeServing:
    """Implements ports.CertificateProbe over pods whose address ends in their node's id."""

    kube: FakeKube
    pki: CryptographyPki
    now: dict[int, str] = field(default_factory=dict)
    """Fingerprint by node."""
    started: dict[str, str] = field(default_factory=dict)
    """What each pod, by uid, began with."""

    async def serving(self, host: str, port: int, tls: ClientTls) -> str | None:
        assert "PRIVATE KEY" in tls.key
        return self.now.get(int(host.rpartition(".")[2]))

    def in_secret(self, node: int) -> str | None:
        secret = self.kube.objects.get(("secrets", "kafka", f"cell-nodes-{node}-tls"))
        if secret is None:
            return None
        pem = public_part(base64.b64decode(secret["data"]["node.pem"]).decode())
        return self.pki.read(pem)[0].fingerprint if pem else None

    def start(self, pod: dict[str, Any], node: int) -> bool:
        """Whether the pod has what it waits for; it reads it once."""
        wants = any("secret" in volume for volume in pod["spec"]["volumes"])
        found = self.in_secret(node)
        if wants and found is None:
            return False
        if wants and found is not None and pod["metadata"]["uid"] not in self.started:
            self.started[pod["metadata"]["uid"]] = self.now[node] = found
        return True

    def reload(self, node: int) -> None:
        if found := self.in_secret(node):
            self.now[node] = found


def tools(kube: FakeKube, clock: Clock, settings: OperatorSettings) -> tuple[Certificates, FakeServing]:
    """Real certificates, and nodes that serve them."""
    pki = CryptographyPki(clock)
    serving = FakeServing(kube, pki)
    return Certificates(pki, serving, clock, lifetimes(settings), by_name=settings.addressing == "DNS"), serving
