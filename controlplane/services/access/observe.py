"""Observe a cluster's authorities and certificates. Reads only; no private key leaves this module, but for the
operator's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.api import names
from controlplane.api.access import Listener
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access import listeners
from controlplane.domain.access.given import is_not_for, missing, problem
from controlplane.domain.access.pem import in_one_line, public_part
from controlplane.domain.access.pki import Certificate
from controlplane.domain.access.values import Access, Authority, ClientTls, Given, Held, Lifetimes
from controlplane.domain.cluster import entrances, naming
from controlplane.domain.cluster.access import CA_CRT, CA_KEY, NEXT_CRT, NEXT_KEY, OLD_CRT, TLS_CRT, TLS_KEY
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation
from controlplane.ports import CertificateProbe, Clock, KeyPair, KubeApi, Object, Pki, PkiError
from controlplane.services.access import secrets
from controlplane.services.access.secrets import client_tls, is_ours, texts
from controlplane.services.access.way import Way
from controlplane.settings import OperatorSettings


@dataclass(frozen=True)
class Certificates:
    """What observing and signing certificates takes. `by_name`: nodes are reached by name (addressing DNS)."""

    pki: Pki
    probe: CertificateProbe
    clock: Clock
    lifetimes: Lifetimes
    by_name: bool


def lifetimes(settings: OperatorSettings) -> Lifetimes:
    return Lifetimes(
        authority=settings.authority_lifetime,
        authority_renew_before=settings.authority_renew_before,
        overlap=settings.authority_overlap,
        leaf=settings.certificate_lifetime,
        renew_before=settings.certificate_renew_before,
        restart_before=settings.certificate_restart_before,
        warn_before=settings.certificate_warn_before,
    )


async def observe_access(kube: KubeApi, tools: Certificates, world: World) -> Access | None:
    """None for a cluster in plaintext. `world` has everything else that Kubernetes knows. Raises KubeError; where the
    operator may have no Secrets it is after one question."""
    cluster, nodes = world.cluster, world.observation.nodes
    if not cluster.spec.mutual_tls:
        return None
    look = _Look(kube, tools.pki, cluster)
    own = await look.ours(naming.operator_tls(cluster.metadata.name))
    cluster_ca, clients_ca = await asyncio.gather(
        look.authority(naming.cluster_ca(cluster.metadata.name)),
        look.authority(naming.clients_ca(cluster.metadata.name)),
    )
    held = await asyncio.gather(*(look.of_node(node, cluster_ca) for node in nodes))
    known = {node.id: one for node, one in zip(nodes, held, strict=True) if one is not None}
    cluster_ca = _in_use(cluster_ca, listeners.CLUSTER_CA, known.values())
    clients_ca = _in_use(clients_ca, listeners.CLIENTS_CA, known.values())
    operator, client = look.operator(own, cluster_ca)
    way = Way(cluster, client, tools.by_name)
    given = [item for item in cluster.spec.listeners if item.certificate_secret_ref is not None]
    sent = {item.name: entrances.hosts(world, item, by_name=tools.by_name) for item in given}
    found = Access(
        lifetimes=tools.lifetimes,
        cluster_ca=cluster_ca,
        clients_ca=clients_ca,
        by_name=tools.by_name,
        operator=operator,
        nodes=known,
        given={item.name: await look.given(item, sent[item.name], tools.clock.now()) for item in given},
        client=client,
        taken=frozenset(look.taken),
    )
    return replace(found, serving=await _serving(tools.probe, way, nodes, known))


def _in_use(authority: Authority, file: str, held: Iterable[Held]) -> Authority:
    """What the key's Secret holds must be trusted already, by nodes or, where there are none, by clients: else it is a
    copy from before a succession, and what it signs nobody would accept. `file` is where nodes have what they trust."""
    by_nodes = {one for node in held for one in in_one_line(node.files.get(file, ""))}
    known = by_nodes or in_one_line(authority.published or "")
    if authority.current is None or not known or known & in_one_line(authority.signer):
        return authority
    problem = "it holds another authority than the one that is in use, as a copy from before the last succession does"
    return Authority(authority.name, published=authority.published, problem=problem)


async def _serving(
    probe: CertificateProbe, way: Way, nodes: Iterable[NodeObservation], held: Mapping[int, Held]
) -> dict[int, str]:
    """Asked only of nodes whose certificate was renewed since they were last seen to serve it."""
    if way.tls is None:
        return {}
    asked: dict[int, tuple[str, int]] = {}
    for node in nodes:
        one = held.get(node.id)
        behind = one is not None and one.certificate is not None and one.loaded != one.certificate.fingerprint
        listener = way.own_listener(node)
        if behind and listener is not None and node.pod is not None and node.pod.ready:
            asked[node.id] = listener
    found = await asyncio.gather(*(probe.serving(host, port, way.tls) for host, port in asked.values()))
    return {node: one for node, one in zip(asked, found, strict=True) if one is not None}


@dataclass
class _Look:
    kube: KubeApi
    pki: Pki
    cluster: KafkaCluster
    taken: set[str] = field(default_factory=set)

    async def authority(self, name: str) -> Authority:
        key_secret, public = await asyncio.gather(self.ours(naming.authority_key(name)), self.ours(name))
        published = texts(public).get(CA_CRT, "") if public is not None else None
        if key_secret is None:
            return Authority(name, published=published)
        data = texts(key_secret)
        try:
            found = self.pki.inspect(KeyPair(data.get(CA_CRT, ""), data.get(CA_KEY, "")), data.get(CA_CRT, ""))
        except PkiError as error:
            return Authority(name, published=published, problem=str(error))
        if not found.key_matches or not found.leaf.is_authority:
            return Authority(name, published=published, problem="ca.key is not the key of ca.crt")
        if NEXT_CRT in data and not self._can_follow(data):
            return Authority(
                name, published=published, problem="next.key is not the key of next.crt, which is to follow"
            )
        if OLD_CRT in data and self._read(data[OLD_CRT]) is None:
            return Authority(name, published=published, problem="old.crt, the one before, cannot be read")
        marks = key_secret["metadata"].get("annotations") or {}
        return Authority(
            name,
            found.leaf,
            trusted=secrets.trusted(data),
            published=published,
            next_=self._read(data.get(NEXT_CRT, "")),
            old=self._read(data.get(OLD_CRT, "")),
            since=_number(marks.get(names.AUTHORITY_SINCE)),
            signer=public_part(data[CA_CRT]),
        )

    def _can_follow(self, data: Mapping[str, str]) -> bool:
        """Whether the authority that was prepared is one, with its key."""
        try:
            found = self.pki.inspect(KeyPair(data[NEXT_CRT], data.get(NEXT_KEY, "")), data[NEXT_CRT])
        except PkiError:
            return False
        return found.key_matches and found.leaf.is_authority

    def _names(self, pem: str) -> tuple[str, ...]:
        found = self._read(pem)
        return found.hosts if found is not None else ()

    def _read(self, pem: str) -> Certificate | None:
        try:
            return self.pki.read(pem)[0] if pem else None
        except PkiError:
            return None

    async def of_node(self, node: NodeObservation, authority: Authority) -> Held | None:
        name = naming.node_tls(self.cluster.metadata.name, node.pool, node.id)
        secret = await self.ours(name)
        if secret is None:
            return None
        data, marks = texts(secret), secret["metadata"].get("annotations") or {}
        pem = data.get(listeners.NODE_PEM, "")
        given = {key: public_part(text) for key, text in data.items() if key.startswith("listener-")}
        trusted = {key: data[key] for key in (listeners.CLUSTER_CA, listeners.CLIENTS_CA) if key in data}
        return replace(
            self._held(public_part(pem), pem, authority),
            files=trusted | given,
            epoch=marks.get(names.CERTIFICATE_EPOCH) or "1",
            oldest=_number(marks.get(names.CERTIFICATE_OLDEST)),
            loaded=marks.get(names.CERTIFICATE_LOADED, ""),
            asked_at=_number(marks.get(names.CERTIFICATE_ASKED)),
            given={file: hosts for file, text in given.items() if (hosts := self._names(text))},
        )

    def operator(self, secret: Object | None, authority: Authority) -> tuple[Held | None, ClientTls | None]:
        if secret is None:
            return None, None
        data = texts(secret)
        held = self._held(data.get(TLS_CRT, ""), data.get(TLS_KEY, ""), authority)
        usable = not held.problem and self._read(data.get(CA_CRT, "")) is not None
        return replace(held, files={CA_CRT: data.get(CA_CRT, "")}), client_tls(data) if usable else None

    async def given(self, item: Listener, hosts: Iterable[str], now: float) -> Given:
        name = item.certificate_secret_ref.name if item.certificate_secret_ref is not None else ""
        secret = await secrets.read(self.kube, name, self.cluster.metadata.namespace)
        if secret is None:
            return Given(name, problem="is not there")
        data = texts(secret)
        if empty := [key for key in (TLS_CRT, TLS_KEY, CA_CRT) if not data.get(key)]:
            return Given(name, problem=f"has no {', '.join(empty)}")
        try:
            found = self.pki.inspect(KeyPair(data[TLS_CRT], data[TLS_KEY]), data[CA_CRT])
        except PkiError as error:
            return Given(name, problem=f"cannot be read: {error}")
        wrong, public = problem(found, now), public_part(data[TLS_CRT])
        if wrong or not (lacking := missing(found.leaf, hosts)):
            return Given(name, found.leaf, problem=wrong, public=public)
        return Given(name, found.leaf, problem=is_not_for(lacking), missing=lacking, public=public)

    async def ours(self, name: str) -> Object | None:
        """A Secret of ours; one of that name that is not is noted, and left alone."""
        secret = await secrets.read(self.kube, name, self.cluster.metadata.namespace)
        if secret is None or is_ours(secret, self.cluster.metadata.name):
            return secret
        self.taken.add(name)
        return None

    def _held(self, certificate: str, key: str, authority: Authority) -> Held:
        try:
            found = self.pki.inspect(KeyPair(certificate, key), authority.signer or certificate)
        except PkiError as error:
            return Held(problem=str(error))
        if not found.key_matches:
            return Held(found.leaf, problem="the key is not its own")
        return Held(found.leaf, signed=found.trusted and authority.current is not None)


def _number(text: str | None) -> float:
    """0 for what is none, infinity among it: nothing is put off for ever."""
    try:
        found = float(text or 0)
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0
