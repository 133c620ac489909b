"""TLS as the operator speaks it: contexts from certificates in memory, and what a server shows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import tempfile
from collections.abc import Iterator

from controlplane.domain.access.values import ClientTls

PROBE_SECONDS = 5.0


def context(tls: ClientTls) -> ssl.SSLContext:
    """Verifies the server and its host name, and shows the client's certificate. Raises ssl.SSLError or ValueError."""
    if not tls.authorities.isascii():
        raise ValueError("the authorities' certificates are not plain PEM")
    made = ssl.create_default_context(cadata=tls.authorities)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    with _file(f"{tls.certificate}{tls.key}") as path:
        made.load_cert_chain(path)
    return made


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """Python's ssl reads keys from files only: one in memory where there are such, else one that is ours alone."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("kfleet-key")
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            yield file.name


class TlsProbe:
    """Implements ports.CertificateProbe."""

    async def serving(self, host: str, port: int, tls: ClientTls) -> str | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(host, port, ssl=context(tls), server_hostname=host)
        except (OSError, ssl.SSLError, ValueError):  # TimeoutError is an OSError
            return None
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return hashlib.sha256(shown).hexdigest() if shown else None
