"""What a server shows, and who is let in: the operator's side of TLS against a real socket."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kafka.security import librdkafka_tls
from controlplane.adapters.pki import CryptographyPki
from controlplane.adapters.tls import TlsProbe, context
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.domain.access.values import ClientTls
from controlplane.ports import KeyPair

pki = CryptographyPki(SystemClock())
CA, OTHER = (pki.make_authority("cell cluster CA", 3600) for _ in range(2))
NODE = pki.issue(CA, Leaf("nodes", UNIT, ("127.0.0.1",)), 600)


def client(authority: KeyPair = CA, *, trusts: KeyPair = CA) -> ClientTls:
    pair = pki.issue(authority, Leaf("operator", UNIT), 600)
    return ClientTls(trusts.certificate, pair.certificate, pair.key)


@asynccontextmanager
async def server(pair: KeyPair = NODE) -> AsyncIterator[int]:
    """Wants a certificate of CA; the port that it listens on."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "node.pem"
        file.write_text(pair.key + pair.certificate)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(file)
        serving.load_verify_locations(cadata=CA.certificate)
        serving.verify_mode = ssl.CERT_REQUIRED
        # With TLS 1.3 a client learns that it was refused only when it reads.
        serving.maximum_version = ssl.TLSVersion.TLSv1_2
        listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=serving)
        async with listening:
            yield listening.sockets[0].getsockname()[1]


async def test_what_a_server_shows_is_seen() -> None:
    async with server() as port:
        deadline = time.monotonic() + 60
        while True:  # a busy machine may not answer in time: it is asked again, as by the next pass
            found = await TlsProbe().serving("127.0.0.1", port, client())
            if found is not None or time.monotonic() > deadline:
                break
    assert found == pki.read(NODE.certificate)[0].fingerprint


@pytest.mark.parametrize(
    ("shown", "tls"),
    [
        (NODE, client(trusts=OTHER)),
        (NODE, client(OTHER)),
        (pki.issue(CA, Leaf("nodes", UNIT, ("127.0.0.2", "localhost")), 600), client()),
    ],
    ids=["of an authority that is not ours", "we are not let in", "for another host"],
)
async def test_what_is_not_trusted_is_nothing(shown: KeyPair, tls: ClientTls) -> None:
    async with server(shown) as port:
        assert await TlsProbe().serving("127.0.0.1", port, tls) is None


async def test_nobody_there_is_nothing() -> None:
    async with server() as port:
        pass
    assert await TlsProbe().serving("127.0.0.1", port, client()) is None


def test_a_key_is_in_no_file_when_its_context_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = context(client())
    assert (made.check_hostname, made.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert list(tmp_path.iterdir()) == []


def test_clients_of_librdkafka_verify_hosts_and_have_their_keys_in_memory() -> None:
    tls = client()
    found = librdkafka_tls(tls)
    assert found["ssl.endpoint.identification.algorithm"] == "https"
    assert found["ssl.key.pem"] == tls.key
    assert not any("location" in key for key in found)
    assert librdkafka_tls(None) == {}
    assert tls.key.splitlines()[1] not in repr(tls)
