"""A cluster's authorities and certificates: what is missing and what is due. Pure. `access_checks` says what is wrong.

Each step is idempotent and stops nobody. The order is the crash safety: an authority's key is written before anything
that it signs, and what is trusted is published before anything is signed by it.

A leaf is renewed in its Secret; the node reads it from there without a restart, once Kubernetes has brought the file
and the operator has asked it to (KAFKA-14136: writing a broker's config again reloads its stores). What a node shows to
the controllers as their client it reads only when it starts, so a node that has not been restarted for long is marked
for a restart (`epoch`) well before that certificate ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controlplane.api import names
from controlplane.domain.access import listeners
from controlplane.domain.access.given import covers
from controlplane.domain.access.pem import in_one_line
from controlplane.domain.access.pki import Leaf
from controlplane.domain.access.values import FIRST_EPOCH, Access, Authority, Held
from controlplane.domain.cluster import addresses, manifests, naming, users
from controlplane.domain.cluster.last import last_listeners, last_settings
from controlplane.domain.cluster.layout import Layout, NodeLayout
from controlplane.domain.cluster.manifests import Manifest
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation

ASK_AGAIN_SECONDS = 10.0
"""Kubernetes brings a changed Secret to a pod when it gets round to it, usually within a minute."""
NEXT_CRT, NEXT_KEY, OLD_CRT = "next.crt", "next.key", "old.crt"
"""Beside ca.crt and ca.key, while one authority follows another."""
CA_CRT, CA_KEY, TLS_CRT, TLS_KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"


@dataclass(frozen=True, slots=True)
class MakeAuthority:
    """Create the Secret with an authority's key and certificate; one that is there is never made again."""

    secret: Manifest
    common_name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PrepareAuthority:
    """Make the authority that is to follow: trusted from now on beside the present one."""

    secret: str
    common_name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PromoteAuthority:
    """The authority that everybody trusts by now signs from now on."""

    secret: str


@dataclass(frozen=True, slots=True)
class DropAuthority:
    """Nobody needs the former authority any more: it is no longer trusted."""

    secret: str


@dataclass(frozen=True, slots=True)
class PublishAuthority:
    """Write the Secret with what is to be trusted (PEM)."""

    secret: Manifest
    trusted: str
    ours: bool


@dataclass(frozen=True, slots=True)
class IssueCertificate:
    """Sign a new leaf with the key in Secret `authority`, and write it with what stands beside it.

    `files` are public ones; `given` are files made of the Secrets that listeners name; `kept` stay as they are in
    `secret`. A node's key and certificate are one file, as Kafka reads them; the operator's are two, as in Kubernetes'
    own layout.
    """

    secret: Manifest
    authority: str
    leaf: Leaf
    seconds: float
    files: Mapping[str, str]
    given: Mapping[str, str]
    of_node: bool
    ours: bool
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadCertificates:
    """Ask a node to read its files again; `secret` remembers when."""

    node: int
    secret: str
    broker: bool


@dataclass(frozen=True, slots=True)
class NoteLoaded:
    """A node was seen to serve this certificate."""

    secret: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class RequireRestart:
    """Another epoch: what nodes were started with ends too soon."""

    secret: str
    epoch: str
    oldest: float


AccessStep = (
    MakeAuthority
    | PublishAuthority
    | PrepareAuthority
    | PromoteAuthority
    | DropAuthority
    | IssueCertificate
    | ReloadCertificates
    | NoteLoaded
    | RequireRestart
)


def access_steps(world: World, layout: Layout | None) -> tuple[AccessStep, ...]:
    """Everything that is missing or due. Without a layout (the spec is refused) nodes that are there are kept going."""
    access = world.access
    if access is None:
        return ()
    now = world.observation.as_of
    found: list[AccessStep] = [*_authorities(world, access)] or [*_overdue(world, access, now)]
    if found:
        return tuple(found)
    found += _operator(world, access, now)
    for node in _nodes(world, layout):
        found += _of_node(world, access, node, now)
    # The next stage begins when the present one is over everywhere.
    return tuple(found) or tuple(_succession(world, access, now))


def _overdue(world: World, access: Access, now: float) -> Iterator[AccessStep]:
    """An authority that has ended signs nothing, and what it signed has ended too: another one follows at once."""
    for authority, words in both(access):
        secret = naming.authority_key(authority.name)
        if authority.current is None or authority.problem or now < authority.current.not_after:
            continue
        if authority.next_ is not None:
            yield PromoteAuthority(secret)
        else:
            yield _prepare(world, access, authority, words)


def _prepare(world: World, access: Access, authority: Authority, words: str) -> PrepareAuthority:
    name = f"{world.cluster.metadata.name} {words} CA"
    return PrepareAuthority(naming.authority_key(authority.name), name, access.lifetimes.authority)


def both(access: Access) -> tuple[tuple[Authority, str], ...]:
    """The authorities, and what they are for."""
    return (access.cluster_ca, "cluster"), (access.clients_ca, "clients")


def _succession(world: World, access: Access, now: float) -> Iterator[AccessStep]:
    """One authority follows another: both trusted, then the new one signs, then the old one is dropped.

    Between two stages every node has read what it needs, every KafkaUser has what it needs, and clients, whose files we
    do not see, have had `overlap`.
    """
    times = access.lifetimes
    settled = all(_is_settled(access, node) for node in world.observation.nodes)
    for authority, words in both(access):
        secret = naming.authority_key(authority.name)
        if authority.current is None or authority.problem:
            continue
        if authority.next_ is None and authority.old is None:
            if now > authority.current.not_after - times.authority_renew_before:
                yield _prepare(world, access, authority, words)
        elif settled and now >= authority.since + times.overlap and not users.behind(world, authority):
            yield PromoteAuthority(secret) if authority.next_ is not None else DropAuthority(secret)


def _is_settled(access: Access, node: NodeObservation) -> bool:
    """A node serves its newest certificate, and was started with one of this epoch."""
    held = access.nodes.get(node.id)
    return (
        held is not None
        and held.certificate is not None
        and held.loaded == held.certificate.fingerprint
        and node.pod is not None
        and node.pod.ready
        and not node.pod.terminating
        and node.pod.certificates == held.epoch
    )


def epochs(nodes: Iterable[NodeObservation], access: Access) -> dict[int, str]:
    """What each node's pod has to be marked with; see `reasons.leaving`."""
    return {node.id: access.nodes[node.id].epoch if node.id in access.nodes else FIRST_EPOCH for node in nodes}


def _authorities(world: World, access: Access) -> Iterator[AccessStep]:
    name = world.cluster.metadata.name
    for authority, words in both(access):
        if authority.problem or {authority.name, naming.authority_key(authority.name)} & access.taken:
            continue
        if authority.current is None and not is_used(access, authority):
            secret = secret_of(world, naming.authority_key(authority.name), None, owned=False)
            yield MakeAuthority(secret, f"{name} {words} CA", access.lifetimes.authority)
        elif authority.current is not None and authority.published != authority.trusted:
            public = secret_of(world, authority.name, None, owned=False)
            yield PublishAuthority(public, authority.trusted, authority.published is not None)


def is_used(access: Access, authority: Authority) -> bool:
    """Something relies on it: where its Secrets were deleted another one is not made in its place unasked."""
    file = listeners.CLUSTER_CA if authority is access.cluster_ca else listeners.CLIENTS_CA
    return authority.published is not None or any(file in held.files for held in access.nodes.values())


def _nodes(world: World, layout: Layout | None) -> Iterator[NodeLayout | NodeObservation]:
    if layout is not None:
        yield from layout.nodes
    there = {node.id for node in layout.nodes} if layout is not None else set()
    yield from (node for node in world.observation.nodes if node.id not in there and node.pod is not None)


def _operator(world: World, access: Access, now: float) -> Iterator[AccessStep]:
    name = naming.operator_tls(world.cluster.metadata.name)
    trust = {CA_CRT: access.cluster_ca.trusted}
    if name not in access.taken and _is_due(access.operator, listeners.OPERATOR, trust, access, now):
        yield IssueCertificate(
            secret=secret_of(world, name, None, owned=True),
            authority=naming.authority_key(access.cluster_ca.name),
            leaf=listeners.OPERATOR,
            seconds=access.lifetimes.leaf,
            files=trust,
            given={},
            of_node=False,
            ours=access.operator is not None,
        )


def _of_node(world: World, access: Access, node: NodeLayout | NodeObservation, now: float) -> Iterator[AccessStep]:
    cluster, held, observed = world.cluster, access.nodes.get(node.id), world.observation.node(node.id)
    name = naming.node_tls(cluster.metadata.name, node.pool, node.id)
    if name in access.taken:
        return
    leaf = Leaf(listeners.NODES.common_name, listeners.NODES.unit, _hosts(world, access, node))
    files = {listeners.CLUSTER_CA: access.cluster_ca.trusted, listeners.CLIENTS_CA: access.clients_ca.trusted}
    given = _given(world, access, node)
    kept = _kept(world, access, node)
    public = {name: access.given[listener].public for listener, name in given.items()} | kept
    if leaf.hosts and _is_due(held, leaf, files | public, access, now):
        secret = secret_of(world, name, node, owned=True)
        secret["metadata"]["annotations"] = _marks(access, held, observed, now)
        yield IssueCertificate(
            secret=secret,
            authority=naming.authority_key(access.cluster_ca.name),
            leaf=leaf,
            seconds=access.lifetimes.leaf,
            files=files,
            given={file: access.given[listener].secret for listener, file in given.items()},
            of_node=True,
            ours=held is not None,
            kept=tuple(kept),
        )
        return
    if held is not None and observed is not None:
        yield from _follow(access, held, observed, name, now)


def _follow(access: Access, held: Held, node: NodeObservation, secret: str, now: float) -> Iterator[AccessStep]:
    """After a leaf was renewed: until the node serves it, and before the one that it was started with ends."""
    certificate = held.certificate
    if certificate is None or held.problem:
        return
    if held.loaded != certificate.fingerprint and node.id in access.serving:
        if access.serving[node.id] == certificate.fingerprint:
            yield NoteLoaded(secret, certificate.fingerprint)
        elif not 0 <= now - held.asked_at < ASK_AGAIN_SECONDS:  # a time to come is none
            yield ReloadCertificates(node.id, secret, node.is_broker)
    ends_soon = now > held.oldest - access.lifetimes.restart_before
    if ends_soon and certificate.not_after > held.oldest and held.loaded == certificate.fingerprint:
        yield RequireRestart(secret, _after(held.epoch), certificate.not_after)


def _marks(access: Access, held: Held | None, node: NodeObservation | None, now: float) -> dict[str, str]:
    """Annotations of a node's Secret with a new leaf.

    An epoch ends with another authority, which the node must trust, and be known by, as the controllers' client too;
    and where a Secret is gone that a node was started with: what it holds is not known.
    """
    started = node is not None and any(volume.formatted for volume in node.volumes)
    end = min(now + access.lifetimes.leaf, _end(access.cluster_ca))
    if held is not None and held.oldest > 0:
        replaced = not held.signed and (not held.problem or access.cluster_ca.old is not None)
        anew = replaced or _trusts_more(access, held)
        epoch, oldest = (_after(held.epoch), end) if anew else (held.epoch, held.oldest)
    elif started and node is not None and node.pod is not None:
        epoch, oldest = _after(node.pod.certificates or FIRST_EPOCH), end
    else:
        epoch, oldest = (held.epoch if held is not None else FIRST_EPOCH), end
    return {
        names.CERTIFICATE_EPOCH: epoch,
        names.CERTIFICATE_OLDEST: f"{oldest:.0f}",
        names.CERTIFICATE_LOADED: held.loaded if held is not None else "",
    }


def _trusts_more(access: Access, held: Held) -> bool:
    """Whether an authority has come that the node does not trust yet; one that goes can wait."""
    return not in_one_line(access.cluster_ca.trusted) <= in_one_line(held.files.get(listeners.CLUSTER_CA, ""))


def _after(epoch: str) -> str:
    return str(int(epoch) + 1) if epoch.isdecimal() else FIRST_EPOCH + "1"


def _end(authority: Authority) -> float:
    return authority.current.not_after if authority.current is not None else 0.0


def _is_due(held: Held | None, leaf: Leaf, files: Mapping[str, str], access: Access, now: float) -> bool:
    """Whether a leaf has to be signed, and can be. One that its authority cuts short is not signed over and over."""
    authority, times = access.cluster_ca, access.lifetimes
    if authority.current is None or authority.published != authority.trusted or not all(files.values()):
        return False
    found = held.certificate if held is not None else None
    if held is None or found is None or held.problem or not held.signed:
        return True
    if found.subject != leaf.subject or set(found.hosts) != set(leaf.hosts) or dict(held.files) != dict(files):
        return True
    gained = min(now + times.leaf, authority.current.not_after) - found.not_after
    return now > found.not_after - times.renew_before and gained > (times.leaf - times.renew_before) / 2


def _hosts(world: World, access: Access, node: NodeLayout | NodeObservation) -> tuple[str, ...]:
    """Every name and address that a node is reached by; empty while one that has to come is not known yet.

    With pod addresses these stick to pod names, so that a pod that is away keeps the one that its certificate says.
    Addresses for clients outside, and of Services that they begin at, are left out while they are not known: Kubernetes
    may never give them, and other listeners must not wait for that.
    """
    meta, observed = world.cluster.metadata, world.observation.node(node.id)
    short = naming.pod_host(meta.name, meta.namespace, node.pool, node.id)
    hosts = [short, f"{short}.cluster.local"]
    if not access.by_name:
        address = observed.pod.ip if observed is not None and observed.pod is not None else None
        held = access.nodes.get(node.id)
        if address is None:
            return held.certificate.hosts if held is not None and held.certificate is not None else ()
        hosts.append(address)
    if node.is_broker:
        declared = [item.name for item in world.cluster.spec.listeners]
        inside = {item.name for item in world.cluster.spec.listeners if not item.is_external}
        # One that is declared no more has clients until the node is restarted.
        before = sorted(last_listeners(world, observed) - set(declared)) if observed is not None else []
        for listener in (*declared, *before):
            name = naming.listener_service(meta.name, listener)
            address = world.services.get(name, {}).get("spec", {}).get("clusterIP")
            if address:
                hosts += [f"{name}.{meta.namespace}.svc", f"{name}.{meta.namespace}.svc.cluster.local", address]
            elif listener in inside:
                return ()
        hosts += addresses.hosts(world, node)
    return tuple(dict.fromkeys(hosts))


def _given(world: World, access: Access, node: NodeLayout | NodeObservation) -> dict[str, str]:
    """File by listener, of listeners whose certificate was given and is to be shown."""
    return {name: file for name, file in _wanted(world, node).items() if _is_taken(access, node.id, name, file)}


def _kept(world: World, access: Access, node: NodeLayout | NodeObservation) -> dict[str, str]:
    """What a node has for listeners whose given certificate cannot be used any more, or is declared no more while the
    node still runs with it, by file: it goes on with that.

    Without the file it could neither read its certificates again nor start.
    """
    held = access.nodes[node.id].files if node.id in access.nodes else {}
    wanted = _wanted(world, node)
    kept = [file for name, file in wanted.items() if not _is_taken(access, node.id, name, file)]
    kept += _files_in_use(world, world.observation.node(node.id)) - set(wanted.values())
    return {file: held[file] for file in kept if held.get(file)}


def _files_in_use(world: World, node: NodeObservation | None) -> set[str]:
    """Files of given certificates that a node was last started with."""
    if node is None or not node.is_broker:
        return set()
    values = last_settings(world, node).values()
    files = {listeners.LISTENER_PEM.format(name=name) for name in last_listeners(world, node)}
    return {file for file in files if any(value.endswith(f"/{file}") for value in values)}


def _wanted(world: World, node: NodeLayout | NodeObservation) -> dict[str, str]:
    """File by listener, of listeners whose certificate is given."""
    if not node.is_broker:
        return {}
    named = [item.name for item in world.cluster.spec.listeners if item.certificate_secret_ref is not None]
    return {name: listeners.LISTENER_PEM.format(name=name) for name in named}


def _is_taken(access: Access, node: int, listener: str, file: str) -> bool:
    """Whether a node shows the certificate that is given now: one with which nothing is wrong, and one that lacks only
    names that the node's present one lacks too. That is no worse, and the present one would come to its end."""
    given = access.given.get(listener)
    if given is None or not given.problem:
        return given is not None
    shown = access.nodes[node].given.get(file) if node in access.nodes else None
    return bool(given.missing) and shown is not None and not any(covers(shown, host) for host in given.missing)


def secret_of(world: World, name: str, node: NodeLayout | NodeObservation | None, *, owned: bool) -> Manifest:
    """Authorities outlive the object like its volumes do (Retain); leaves are signed anew at any time."""
    return {"metadata": manifests.meta_of(world.cluster, name, node, owned=owned), "type": "Opaque"}
