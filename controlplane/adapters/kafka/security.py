"""How our clients of librdkafka show who they are, and what they say when that cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException

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


def refused_settings(settings: Iterable[str], error: KafkaException) -> str:
    """Which of `settings` (keys) librdkafka does not take. Its own words may quote a value, which may be a password."""
    named = sorted(key for key in settings if key in str(error))
    return f"librdkafka does not take {', '.join(named) or 'its settings'}"
