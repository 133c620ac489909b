"""Connections with a certificate that somebody spoiled: an answer that callers know, not an error of TLS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.adapters.pki import CryptographyPki
from controlplane.adapters.tls import TlsProbe
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.domain.access.values import ClientTls
from controlplane.ports import KafkaUnreachableError

pki = CryptographyPki(SystemClock())
CA = pki.make_authority("cell cluster CA", 3600)
PAIR, OTHER = (pki.issue(CA, Leaf("operator", UNIT), 600) for _ in range(2))
TLS = ClientTls(CA.certificate, PAIR.certificate, PAIR.key)
SPOILED = {
    "ca.crt is no certificate": replace(TLS, authorities="hello"),
    "ca.crt has a word that is not ASCII": replace(TLS, authorities=f"M\u00fcller\n{CA.certificate}"),
    "tls.crt is no certificate": replace(TLS, certificate="hello"),
    "tls.key is another one's": replace(TLS, key=OTHER.key),
}


@pytest.mark.parametrize("case", SPOILED)
async def test_a_certificate_that_cannot_be_used_is_said_to_be_the_reason(case: str) -> None:
    admins = KafkaPythonAdmins(threads=1, timeout=1.0, voter_caught_up_seconds=1.0)
    try:
        with pytest.raises(KafkaUnreachableError, match="certificate"):
            admins.get("kafka/cell", ["127.0.0.1:1"], SPOILED[case])
        with pytest.raises(KafkaUnreachableError, match="certificate"):
            await admins.reload(0, "127.0.0.1:1", SPOILED[case])
        assert admins.get("kafka/cell", ["127.0.0.1:1"], TLS) is not None, "the control: put right, it is used"
    finally:
        await admins.close()


@pytest.mark.parametrize("case", SPOILED)
async def test_nothing_is_seen_with_it(case: str) -> None:
    assert await TlsProbe().serving("127.0.0.1", 1, SPOILED[case]) is None
