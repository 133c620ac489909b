"""Certificates: what is issued is what was asked for, and what does not belong together is told apart."""

from __future__ import annotations

import pytest

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
