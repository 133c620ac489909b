"""What a user's Secret holds: the parts by themselves, and files that clients take as they are.

`client.properties` is Java's, certificates and keys inside it (KIP-651), so that it works wherever it is mounted.
`librdkafka.json` is a JSON object of librdkafka's properties (Python, Go, .NET, Node.js), certificates inside as well.

Every value is escaped for the file that it stands in, whatever it holds; names and passwords have no character that
would need it, and a test puts in some that do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

TYPE = "kafka"
SECRET_TYPE = "servicebinding.io/kafka"  # noqa: S105 - a type, not a secret
SCRAM_MECHANISM = "SCRAM-SHA-512"
LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"

PASSWORD, NEXT_PASSWORD = "password", ".next-password"
CERTIFICATE, KEY, CA = "user.crt", "user.key", "ca.crt"
CLIENT_PROPERTIES, LIBRDKAFKA = "client.properties", "librdkafka.json"

_ANY: frozenset[str] = frozenset()
LIBRDKAFKA_VALUES: Mapping[str, frozenset[str]] = {
    "bootstrap.servers": _ANY,
    "security.protocol": frozenset({"SSL", "SASL_SSL", "SASL_PLAINTEXT"}),
    "sasl.mechanism": frozenset({SCRAM_MECHANISM}),
    "sasl.username": _ANY,
    "sasl.password": _ANY,
    "ssl.certificate.pem": _ANY,
    "ssl.key.pem": _ANY,
    "ssl.ca.pem": _ANY,
    "ssl.endpoint.identification.algorithm": frozenset({"https"}),
}
"""All that librdkafka.json may hold, and which values; none for any text."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach the cluster. `ca` is the PEM bundle of a TLS listener, None where there is no TLS."""

    bootstrap_servers: Sequence[str]
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logs in: a name with its password, or a certificate with its key."""

    user: str
    password: SecretStr | None = None
    certificate: str = ""
    key: str = field(default="", repr=False)


def contents(login: Login, identity: Identity) -> dict[str, str]:
    """Key to text. The next password of a rotation is not part of it."""
    servers = ",".join(login.bootstrap_servers)
    parts = {
        "type": TYPE,
        "provider": "kfleet",
        "bootstrap.servers": servers,
        "security.protocol": _protocol(login, identity),
        "username": identity.user,
    }
    if login.ca is not None:
        parts[CA] = login.ca
    if identity.password is not None:
        parts |= {
            PASSWORD: identity.password.get_secret_value(),
            "sasl.mechanism": SCRAM_MECHANISM,
            "sasl.jaas.config": jaas_line(identity.user, identity.password),
        }
    else:
        parts |= {CERTIFICATE: identity.certificate, KEY: identity.key}
    java = properties_file(_java(login, identity))
    librdkafka = json.dumps(_librdkafka(login, identity), indent=2) + "\n"
    return parts | {CLIENT_PROPERTIES: java, LIBRDKAFKA: librdkafka}


def jaas_line(user: str, password: SecretStr) -> str:
    return f'{LOGIN_MODULE} required username="{_jaas(user)}" password="{_jaas(password.get_secret_value())}";'


def properties_file(settings: Mapping[str, str]) -> str:
    """As java.util.Properties reads it."""
    return "".join(f"{_property(key, in_key=True)}={_property(value)}\n" for key, value in settings.items())


def read_librdkafka(text: str) -> dict[str, str]:
    """The inverse of what `contents` writes. Whoever may edit the Secret chooses what is in it, and librdkafka loads
    libraries and reads files that its properties name: none but those written here is taken.

    Raises ValueError, which names the key and no value.
    """
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - what a text holds is its value
    for key, value in sorted(settings.items()):
        if key not in LIBRDKAFKA_VALUES:
            raise ValueError(f"{key[:64]!r} is not among the operator's settings")
        allowed = LIBRDKAFKA_VALUES[key]
        if not isinstance(value, str) or (allowed and value not in allowed):
            raise ValueError(f"the value of {key!r} is not one that the operator writes")
    if not settings.get("bootstrap.servers"):
        raise ValueError("it has no 'bootstrap.servers'")
    return settings


def _protocol(login: Login, identity: Identity) -> str:
    if identity.password is None:
        return "SSL"
    return "SASL_PLAINTEXT" if login.ca is None else "SASL_SSL"


def _java(login: Login, identity: Identity) -> dict[str, str]:
    settings = {
        "bootstrap.servers": ",".join(login.bootstrap_servers),
        "security.protocol": _protocol(login, identity),
    }
    if identity.password is not None:
        settings |= {
            "sasl.mechanism": SCRAM_MECHANISM,
            "sasl.jaas.config": jaas_line(identity.user, identity.password),
        }
    else:
        settings |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": identity.certificate,
            "ssl.keystore.key": identity.key,
        }
    if login.ca is not None:
        settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": login.ca}
    return settings


def _librdkafka(login: Login, identity: Identity) -> dict[str, str]:
    settings = {
        "bootstrap.servers": ",".join(login.bootstrap_servers),
        "security.protocol": _protocol(login, identity),
    }
    if identity.password is not None:
        settings |= {
            "sasl.mechanism": SCRAM_MECHANISM,
            "sasl.username": identity.user,
            "sasl.password": identity.password.get_secret_value(),
        }
    else:
        settings |= {"ssl.certificate.pem": identity.certificate, "ssl.key.pem": identity.key}
    if login.ca is not None:
        settings |= {"ssl.ca.pem": login.ca, "ssl.endpoint.identification.algorithm": "https"}
    return settings


_IN_QUOTES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_IN_VALUES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"})
_IN_KEYS = _IN_VALUES | str.maketrans({character: f"\\{character}" for character in "=: #!"})


def _jaas(text: str) -> str:
    """Inside a quoted value (java.io.StreamTokenizer): a line break would end the line, a quote the value."""
    return text.translate(_IN_QUOTES)


def _property(text: str, *, in_key: bool = False) -> str:
    """java.util.Properties.store: whatever begins a comment, ends a key or a line is escaped."""
    out = text.translate(_IN_KEYS if in_key else _IN_VALUES)
    return f"\\{out}" if out.startswith((" ", "#", "!")) else out
