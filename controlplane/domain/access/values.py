"""What is known of a cluster's authorities and certificates, as values.

No private key is ever part of them, but for the operator's own (`ClientTls`), which never shows in a repr.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.domain.access.pki import Certificate

FIRST_EPOCH = "1"
"""What a pod is marked with that starts with a node's first certificate, or before there is one."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """In seconds. Leaves are renewed `renew_before` their end; a node that still runs with one that ends within
    `restart_before` is restarted, because what it holds as a client of the controllers is read at its start only."""

    authority: float
    authority_renew_before: float
    overlap: float
    leaf: float
    renew_before: float
    restart_before: float
    warn_before: float


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How the operator connects to a cluster: what it trusts, and its own certificate with the key. PEM."""

    authorities: str
    certificate: str
    key: str = field(repr=False)

    @property
    def generation(self) -> str:
        """Another one whenever any of it changes; says nothing of the key."""
        return hashlib.sha256(f"{self.authorities}{self.certificate}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority as found: the Secret `name` with what is trusted, and another one with the key.

    `current` signs, and is None where there is no key yet, or none that can be used (`problem`). `trusted` is what the
    key's Secret says is to be trusted (PEM), `published` what the public Secret holds, None where it is missing.
    `next_` is trusted and does not sign yet, `old` is trusted and signs no more; `since` is when that began. One
    authority follows another in three stages: `next_` is trusted too; it signs, and the former one is `old`; gone.
    """

    name: str
    current: Certificate | None = None
    trusted: str = ""
    published: str | None = None
    problem: str = ""
    next_: Certificate | None = None
    old: Certificate | None = None
    since: float = 0.0
    signer: str = ""
    """Certificate of `current`, PEM."""


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate in a Secret. `problem`: why it is of no use; `signed`: by the authority that signs now.

    `files` are the public ones beside it, by name. Of a node: `epoch` is what a pod must be marked with to hold a
    certificate that lasts, `oldest` the end of the first one of that epoch, `loaded` the fingerprint that the node was
    last seen to serve, `asked_at` when it was last asked to read its files again, `given` the names and addresses of
    certificates that were given for listeners, by file.
    """

    certificate: Certificate | None = None
    problem: str = ""
    signed: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    epoch: str = FIRST_EPOCH
    oldest: float = 0.0
    loaded: str = ""
    asked_at: float = 0.0
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """A Secret that a listener's certificateSecretRef names. `problem` says what is wrong with it, in words that follow
    the field's path; `missing` are the names and addresses that clients are told and that it is not for, where that is
    all that is wrong; `public` is its certificate with the chain, PEM."""

    secret: str
    certificate: Certificate | None = None
    problem: str = ""
    missing: tuple[str, ...] = ()
    public: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """Everything about a cluster's certificates. `client` is None before the operator has its own.

    `by_name`: nodes are reached by their names, which is what their certificates say; otherwise by address.
    `serving` are fingerprints by node id, of nodes that were asked; who did not answer is not in it.
    """

    lifetimes: Lifetimes
    cluster_ca: Authority
    clients_ca: Authority
    by_name: bool = False
    operator: Held | None = None
    nodes: Mapping[int, Held] = field(default_factory=dict)
    given: Mapping[str, Given] = field(default_factory=dict)
    serving: Mapping[int, str] = field(default_factory=dict)
    client: ClientTls | None = None
    taken: frozenset[str] = frozenset()
    """Secrets of these names that are not kfleet's."""
