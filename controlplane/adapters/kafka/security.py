"""How our clients of librdkafka show who we are."""

from __future__ import annotations

from typing import Any

from controlplane.ports import ClientTls


def librdkafka_tls(tls: ClientTls | None) -> dict[str, Any]:
    """Settings for a listener with mutual TLS, host names verified; none in plaintext. Keys stay in memory."""
    if tls is None:
        return {}
    return {
        "security.protocol": "SSL",
        "ssl.ca.pem": tls.authorities,
        "ssl.certificate.pem": tls.certificate,
        "ssl.key.pem": tls.key,
        "ssl.endpoint.identification.algorithm": "https",
    }
