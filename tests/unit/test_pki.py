"""Certificates: what is issued is what was asked for, and what does not belong together is told apart."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.ports import KeyPair, PkiError

NOW = 1_800_000_000.0
DAY = 86400.0


class At:
    def __init__(self) -> None:
        self.seconds = NOW

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


pki = CryptographyPki(At())
CA = pki.make_authority("orders cluster CA", 100 * DAY)


def test_a_node_s_certificate_says_what_was_asked_for() -> None:
    pair = pki.issue(CA, Leaf("nodes", UNIT, ("orders-nodes-0.orders-nodes.kafka.svc", "127.9.1.0")), 10 * DAY)
    found = pki.inspect(pair, CA.certificate)
    assert (found.key_matches, found.trusted) == (True, True)
    assert found.leaf.subject == "CN=nodes,OU=kfleet"
    assert found.leaf.hosts == ("orders-nodes-0.orders-nodes.kafka.svc", "127.9.1.0")
    assert found.leaf.not_after == NOW + 10 * DAY
    assert not found.leaf.is_authority


def test_a_user_s_certificate_has_a_name_and_nothing_else() -> None:
    """So that its principal is never one of kfleet's own, which have a unit."""
    (leaf,) = pki.read(pki.issue(CA, Leaf("alice"), DAY).certificate)
    assert (leaf.subject, leaf.hosts) == ("CN=alice", ())


def test_nothing_outlives_its_authority() -> None:
    (leaf,) = pki.read(pki.issue(CA, Leaf("alice"), 1000 * DAY).certificate)
    assert leaf.not_after == NOW + 100 * DAY


def test_an_authority_signs_leaves_only() -> None:
    """A leaf that signs another one is not trusted, although every signature is right."""
    middle = pki.issue(CA, Leaf("alice"), DAY)
    forged = pki.issue(middle, Leaf("nodes", UNIT), DAY)
    chained = KeyPair(forged.certificate + middle.certificate, forged.key)
    assert not pki.inspect(chained, CA.certificate).trusted
    assert not pki.inspect(forged, middle.certificate).trusted


def test_another_authority_of_the_same_name_is_not_trusted() -> None:
    other = pki.make_authority("orders cluster CA", 100 * DAY)
    pair = pki.issue(other, Leaf("nodes", UNIT), DAY)
    assert not pki.inspect(pair, CA.certificate).trusted
    assert pki.inspect(pair, CA.certificate + other.certificate).trusted, "trusting both is how one follows the other"


def test_the_key_of_another_certificate_does_not_match() -> None:
    one, two = (pki.issue(CA, Leaf("alice"), DAY) for _ in range(2))
    assert not pki.inspect(KeyPair(one.certificate, two.key), CA.certificate).key_matches
    with pytest.raises(PkiError, match="does not belong"):
        pki.issue(KeyPair(CA.certificate, one.key), Leaf("alice"), DAY)


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_said_to_be_none(text: str) -> None:
    with pytest.raises(PkiError, match="no PEM certificate"):
        pki.read(text)


def test_no_key_is_ever_part_of_a_message_or_a_repr() -> None:
    pair = pki.issue(CA, Leaf("alice"), DAY)
    secret = pair.key.splitlines()[1]
    assert secret not in repr(pair)
    broken = pair.key.replace("PRIVATE KEY", "NONSENSE")
    with pytest.raises(PkiError) as caught:
        pki.inspect(KeyPair(pair.certificate, broken), CA.certificate)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def unusual(before: str, after: str, **extensions: str) -> KeyPair:
    """A certificate that its maker's library would not make: some of its bytes are others. All in hex."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1).not_valid_before(dt.datetime(2026, 1, 1))  # noqa: DTZ001
    builder = builder.not_valid_after(dt.datetime(2036, 1, 1))  # noqa: DTZ001
    for last, value in extensions.items():
        kind = x509.ObjectIdentifier(f"2.5.29.{last.removeprefix('of_')}")
        builder = builder.add_extension(x509.UnrecognizedExtension(kind, bytes.fromhex(value)), critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    changed = der.replace(bytes.fromhex(before), bytes.fromhex(after)) if before else der
    assert len(changed) == len(der)
    certificate = x509.load_der_x509_certificate(changed).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KeyPair(certificate.decode(), key.private_bytes(*form).decode())


UNUSUAL = {
    "a curve that nobody here knows": unusual("06082a8648ce3d030107", "06082a811ccf5501822d"),
    "an X.400 address for a name": unusual("", "", of_17="3004a3023000"),
    "an extension twice": unusual("0603551d12", "0603551d11", of_17="3003820161", of_18="3003820161"),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_can_be_read_only_half_is_said_to_be_unreadable(case: str) -> None:
    with pytest.raises(PkiError, match="cannot be read"):
        pki.inspect(UNUSUAL[case], CA.certificate)


def test_an_authority_whose_key_cannot_be_read_signs_nothing() -> None:
    with pytest.raises(PkiError, match="cannot be read"):
        pki.issue(UNUSUAL["a curve that nobody here knows"], Leaf("alice"), DAY)


@pytest.mark.parametrize("case", [case for case in UNUSUAL if "curve" not in case])
def test_names_that_cannot_be_read_are_not_taken_for_none(case: str) -> None:
    with pytest.raises(PkiError, match="cannot be read"):
        pki.read(UNUSUAL[case].certificate)
