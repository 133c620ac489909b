"""ports.Pki with the package `cryptography`: P-256 keys, ECDSA with SHA-256, PEM, keys as PKCS#8.

That is what Kafka's PEM stores (KIP-651), librdkafka, Python and Java clients all read. Keys are never encrypted: they
lie in Secrets, and a password for them would lie beside them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import ipaddress
import itertools
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.domain.access.pki import Certificate, Inspection, Leaf
from controlplane.ports import Clock, KeyPair, PkiError

KNOWN_CERTIFICATES = 4096
"""What was read of a certificate, and who signed it, never changes; every pass asks for that of every node."""
CLOCK_SKEW_SECONDS = 300.0
"""A new certificate is valid for peers whose clocks are behind by so much."""


class CryptographyPki:
    """Implements ports.Pki."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def make_authority(self, common_name: str, seconds: float) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(Leaf(common_name, "kfleet"))
        builder = self._builder(subject, subject, key, self._clock.now() + seconds)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return _pair(certificate, key)

    def issue(self, authority: KeyPair, leaf: Leaf, seconds: float) -> KeyPair:
        issuer = _certificates(authority.certificate)[0]
        signer = _key(authority.key)
        with _reading():
            is_pair = _is_pair(issuer, signer)
        if not isinstance(signer, ec.EllipticCurvePrivateKey) or not is_pair:
            raise PkiError("the authority's key does not belong to its certificate")
        key = ec.generate_private_key(ec.SECP256R1())
        not_after = min(self._clock.now() + seconds, issuer.not_valid_after_utc.timestamp())
        if issuer.not_valid_after_utc.timestamp() <= self._clock.now():
            raise PkiError("the authority itself has ended")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if leaf.hosts else [])
        builder = (
            self._builder(_name(leaf), issuer.subject, key, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if leaf.hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in leaf.hosts])
            builder = builder.add_extension(names, critical=False)
        return _pair(builder.sign(signer, hashes.SHA256()), key)

    def read(self, pem: str) -> tuple[Certificate, ...]:
        with _reading():
            return tuple(_facts(certificate) for certificate in _certificates(pem))

    def inspect(self, pair: KeyPair, authorities: str) -> Inspection:
        with _reading():
            chain = _certificates(pair.certificate)
            key = _key(pair.key)
            return Inspection(
                chain=tuple(_facts(certificate) for certificate in chain),
                key_matches=_is_pair(chain[0], key),
                trusted=_is_trusted(chain, _certificates(authorities)),
                key_kind=_kind(key),
                serves=_serves(chain[0]),
            )

    def as_pkcs8(self, key: str) -> str:
        return _pkcs8(_key(key))

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, not_after: float
    ) -> x509.CertificateBuilder:
        now = self._clock.now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(dt.datetime.fromtimestamp(now - CLOCK_SKEW_SECONDS, dt.UTC))
            .not_valid_after(dt.datetime.fromtimestamp(not_after, dt.UTC))
        )


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """The library reads a certificate bit by bit, when it is asked: each of them may turn out to be one it cannot."""
    try:
        yield
    except (
        *(ValueError, TypeError, UnsupportedAlgorithm),
        *(x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
    ) as error:
        raise PkiError(f"it holds a certificate that cannot be read ({type(error).__name__})") from None


def _name(leaf: Leaf) -> x509.Name:
    """RFC 2253 writes the last attribute first: `CN=...,OU=...`."""
    unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, leaf.unit)] if leaf.unit else []
    return x509.Name([*unit, x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


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


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pkcs8(key))


def _pkcs8(key: PrivateKeyTypes) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise PkiError("it holds no PEM certificate that can be read") from error
    return found


def _key(pem: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's words may quote what it was given: a key has no place in a message.
        why = "it is encrypted" if isinstance(error, TypeError) else "it is no PEM private key that can be read"
        raise PkiError(f"private key: {why}") from None


def _is_pair(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _kind(key: PrivateKeyTypes) -> str:
    match key:
        case rsa.RSAPrivateKey():
            return "RSA"
        case ec.EllipticCurvePrivateKey():
            return f"EC {key.curve.name}"
        case _:
            return type(key).__name__.removesuffix("PrivateKey").lstrip("_")


def _serves(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _is_trusted(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    for certificate, issuer in itertools.pairwise(chain):
        if not (_is_authority(issuer) and _signed(certificate, issuer)):
            return False
    return any(chain[-1] == authority or _signed(chain[-1], authority) for authority in authorities)


@functools.lru_cache(KNOWN_CERTIFICATES)
def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return _is_authority(issuer)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


@functools.lru_cache(KNOWN_CERTIFICATES)
def _facts(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        hosts=_hosts(certificate),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        is_authority=_is_authority(certificate),
    )


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *(name for name in names.get_values_for_type(x509.DNSName) if not _is_address(name)),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
