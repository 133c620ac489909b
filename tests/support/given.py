"""Certificates of another company's authority for a listener, given to a cluster as cert-manager would write them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from support.cell import Cell
from support.doors import HOUR, pki

from controlplane.domain.access.pki import Leaf
from controlplane.ports import KeyPair


def edit_secret(cell: Cell, name: str, data: Mapping[str, str]) -> None:
    """These keys by hand, through standard input: nothing of it is ever in a command line."""
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
    cell.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))


@dataclass
class Giver:
    """Whose certificate it is, in Secret `secret` for an internal listener of cluster `cell`."""

    cell: Cell
    secret: str
    listener: str
    authority: KeyPair = field(default_factory=lambda: pki.make_authority("another company", 24 * HOUR))

    def pods(self) -> tuple[str, ...]:
        found = self.cell.pods().values()
        return tuple(pod["status"]["podIP"] for pod in found if pod.get("status", {}).get("podIP"))

    def service(self) -> str:
        """The address that clients begin at; empty while there is no Service."""
        services = {one["metadata"]["name"]: one["spec"]["clusterIP"] for one in self.cell.get("services")["items"]}
        return str(services.get(f"cell-{self.listener}", ""))

    def give(self, seconds: float = HOUR, hosts: tuple[str, ...] | None = None, key: str | None = None) -> KeyPair:
        """One for all that clients are sent to, unless it is to be wrong."""
        names = (*self.pods(), *filter(None, [self.service()])) if hosts is None else hosts
        pair = pki.issue(self.authority, Leaf("kafka.example.com", None, names), seconds)
        files = {"tls.crt": pair.certificate, "tls.key": key or _sec1(pair.key), "ca.crt": self.authority.certificate}
        edit_secret(self.cell, self.secret, files)
        return pair


def _sec1(key: str) -> str:
    """As cert-manager writes keys unless it is told otherwise, which no broker can read."""
    loaded = serialization.load_pem_private_key(key.encode(), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return loaded.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
