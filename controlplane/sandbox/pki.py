"""The sandbox's certificates: two authorities, and a leaf for each part.

    pki/                one directory, complete or absent
      ca.crt, ca.key        signs kube-apiserver, kubelets and every client of the API
      etcd-ca.crt, etcd-ca.key   signs only etcd and its one client: nobody but kube-apiserver can read etcd
      service-accounts.key, .pub signs ServiceAccount tokens
    certificates/<leaf>.pem  certificate and key in one file, so that they are replaced together

A leaf is issued anew when it is missing, broken, about to expire, or no longer says what it should; authorities and the
ServiceAccount key are made once for the life of the sandbox, because running pods hold tokens and the CA.
Nodes find their serving certificate under `paths.node(name)/pki/serving.{crt,key}` and the client CA at `pki/ca.crt`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.files import write_private
from controlplane.sandbox.once import make_once
from controlplane.sandbox.rbac import KUBELET_CLIENT, USERS

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 30
CLOCK_SKEW = dt.timedelta(hours=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Leaf:
    """What a certificate says. `hosts` are DNS names and IP addresses."""

    name: str
    user: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    authority: str = "ca"

    @property
    def usages(self) -> list[x509.ObjectIdentifier]:
        if self.authority == "etcd-ca":
            return [SERVER, CLIENT]
        return [SERVER] if self.hosts else [CLIENT]


def leaf_path(paths: SandboxPaths, name: str) -> Path:
    return paths.certificate(name)


def clients(config: SandboxConfig) -> list[Leaf]:
    """Every identity that gets a kubeconfig; names are those of `SandboxPaths.kubeconfig`."""
    return [
        Leaf("admin", "kfleet:sandbox:admin", ("system:masters",)),
        Leaf("controller-manager", "system:kube-controller-manager"),
        Leaf("scheduler", "system:kube-scheduler"),
        *(Leaf(identity, user) for identity, user in USERS.items()),
        *(Leaf(node, f"system:node:{node}", ("system:nodes",)) for node in config.nodes),
    ]


def servers(config: SandboxConfig) -> list[Leaf]:
    """Serving certificates, and the two clients that have no kubeconfig."""
    kubernetes = str(ipaddress.ip_network(config.service_cidr)[1])
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return [
        Leaf("apiserver", "kube-apiserver", hosts=("127.0.0.1", "localhost", kubernetes, *names)),
        Leaf("kubelet-client", KUBELET_CLIENT),
        Leaf("etcd", "etcd", hosts=("127.0.0.1", "localhost"), authority="etcd-ca"),
        *(Leaf(f"kubelet-{node}", f"system:node:{node}", hosts=("127.0.0.1", node)) for node in config.nodes),
    ]


def ensure_pki(paths: SandboxPaths, config: SandboxConfig) -> None:
    """Idempotent; safe after a crash at any point. Raises BuildError when the disk refuses."""
    make_once(paths.pki, _make_authorities)
    (paths.root / "certificates").mkdir(exist_ok=True)
    for leaf in [*clients(config), *servers(config)]:
        path = leaf_path(paths, leaf.name)
        authority = x509.load_pem_x509_certificate((paths.pki / f"{leaf.authority}.crt").read_bytes())
        if not _serves(path, leaf, authority):
            key = serialization.load_pem_private_key((paths.pki / f"{leaf.authority}.key").read_bytes(), None)
            write_private(path, _issue(leaf, authority, cast("ec.EllipticCurvePrivateKey", key)))
    for node in config.nodes:
        _link_serving(paths, node)


def _link_serving(paths: SandboxPaths, node: str) -> None:
    """Where a node looks for its serving certificate: two names of the one file that holds both parts."""
    directory = paths.node(node) / "pki"
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("serving.crt", "serving.key"):
        link = directory / name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(leaf_path(paths, f"kubelet-{node}"))


def _make_authorities(directory: Path) -> None:
    for name in ("ca", "etcd-ca"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kfleet sandbox {name}")])
        certificate = (
            _builder(subject, subject, key, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(directory / f"{name}.key", _pem_key(key))
        (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tokens = ec.generate_private_key(ec.SECP256R1())
    write_private(directory / "service-accounts.key", _pem_key(tokens))
    public = tokens.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (directory / "service-accounts.pub").write_bytes(public)


def _issue(leaf: Leaf, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _builder(_subject(leaf), authority.subject, key, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
        .add_extension(authority_id, critical=False)
    )
    if leaf.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_names(leaf.hosts)), critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM) + _pem_key(key)


def _serves(path: Path, leaf: Leaf, authority: x509.Certificate) -> bool:
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        serialization.load_pem_private_key(pem, None)
        certificate.verify_directly_issued_by(authority)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    names: Sequence[x509.GeneralName] = []
    if leaf.hosts:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return (
        certificate.subject == _subject(leaf)
        and list(names) == _names(leaf.hosts)
        and left > dt.timedelta(days=RENEW_DAYS)
    )


def _subject(leaf: Leaf) -> x509.Name:
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in leaf.groups]
    return x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, leaf.user)])


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    def name(host: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            return x509.DNSName(host)

    return [name(host) for host in hosts]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
