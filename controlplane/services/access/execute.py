"""Carry out one step for a cluster's certificates. Keys are read, used and written here, and nowhere else."""

from __future__ import annotations

import base64

from controlplane.api import names
from controlplane.domain.access.listeners import NODE_PEM
from controlplane.domain.access.pem import public_part
from controlplane.domain.cluster.access import (
    CA_CRT,
    CA_KEY,
    NEXT_CRT,
    NEXT_KEY,
    OLD_CRT,
    TLS_CRT,
    TLS_KEY,
    AccessStep,
    DropAuthority,
    IssueCertificate,
    MakeAuthority,
    NoteLoaded,
    PrepareAuthority,
    PromoteAuthority,
    PublishAuthority,
    ReloadCertificates,
    RequireRestart,
)
from controlplane.domain.cluster.world import World
from controlplane.ports import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    KafkaAdmins,
    KeyPair,
    KubeApi,
    NotFoundError,
    Object,
    Pki,
    PkiError,
)
from controlplane.services.access import secrets
from controlplane.services.access.observe import Certificates
from controlplane.services.access.secrets import SECRETS, is_ours, texts
from controlplane.services.access.way import Way


async def carry_out(kube: KubeApi, tools: Certificates, admins: KafkaAdmins, step: AccessStep, world: World) -> None:
    """Raises KubeError or KafkaError; done twice it harms nothing the second time."""
    namespace = world.cluster.metadata.namespace
    match step:
        case MakeAuthority(secret, common_name, seconds):
            pair = tools.pki.make_authority(common_name, seconds)
            await kube.create(SECRETS, secret | {"data": _encoded({CA_CRT: pair.certificate, CA_KEY: pair.key})})
        case PublishAuthority(secret, trusted, ours):
            await _write(kube, secret | {"data": _encoded({CA_CRT: trusted})}, ours=ours)
        case PrepareAuthority() | PromoteAuthority() | DropAuthority():
            await _follow(kube, tools, step, world)
        case IssueCertificate():
            await _issue(kube, tools, step, world)
        case ReloadCertificates(node, secret):
            await _annotate(kube, secret, namespace, {names.CERTIFICATE_ASKED: f"{tools.clock.now():.0f}"})
            await _reload(admins, tools, node, world)
        case NoteLoaded(secret, fingerprint):
            await _annotate(kube, secret, namespace, {names.CERTIFICATE_LOADED: fingerprint})
        case RequireRestart(secret, epoch, oldest):
            marks = {names.CERTIFICATE_EPOCH: epoch, names.CERTIFICATE_OLDEST: f"{oldest:.0f}"}
            await _annotate(kube, secret, namespace, marks)


async def _follow(
    kube: KubeApi, tools: Certificates, step: PrepareAuthority | PromoteAuthority | DropAuthority, world: World
) -> None:
    """The next stage of a succession, if it has not begun yet: the Secret's version is the precondition."""
    cluster = world.cluster.metadata
    found = await kube.get(SECRETS, step.secret, cluster.namespace)
    if not is_ours(found, cluster.name):
        raise _taken(step.secret)
    data = texts(found)
    change: dict[str, str | None]
    match step:
        case PrepareAuthority(_, common_name, seconds):
            if NEXT_CRT in data:
                return
            pair = tools.pki.make_authority(common_name, seconds)
            change = {NEXT_CRT: pair.certificate, NEXT_KEY: pair.key}
        case PromoteAuthority():
            if NEXT_CRT not in data:
                return
            if not data.get(NEXT_KEY):  # gone since it was observed
                raise InvalidError(422, "Invalid", f"Secret {step.secret}: it has next.crt, and no next.key")
            change = {CA_CRT: data[NEXT_CRT], CA_KEY: data[NEXT_KEY], OLD_CRT: data[CA_CRT]}
            change |= {NEXT_CRT: None, NEXT_KEY: None}
        case DropAuthority():
            change = {OLD_CRT: None}
    meta = {
        "resourceVersion": found["metadata"]["resourceVersion"],
        "annotations": {names.AUTHORITY_SINCE: f"{tools.clock.now():.0f}"},
    }
    encoded = {key: None if text is None else _encode(text) for key, text in change.items()}
    await kube.patch(SECRETS, step.secret, cluster.namespace, {"metadata": meta, "data": encoded})


async def _issue(kube: KubeApi, tools: Certificates, step: IssueCertificate, world: World) -> None:
    cluster = world.cluster.metadata
    signer = await kube.get(SECRETS, step.authority, cluster.namespace)
    if not is_ours(signer, cluster.name):
        raise _taken(step.authority)
    data = texts(signer)
    try:
        pair = tools.pki.issue(KeyPair(data.get(CA_CRT, ""), data.get(CA_KEY, "")), step.leaf, step.seconds)
    except PkiError as error:
        raise InvalidError(422, "Invalid", f"Secret {step.authority}: {error}") from None
    files = dict(step.files)
    if step.of_node:
        files[NODE_PEM] = pair.key + pair.certificate
    else:
        files |= {TLS_CRT: pair.certificate, TLS_KEY: pair.key}
    for file, name in step.given.items():
        files[file] = await _given(kube, tools.pki, name, world)
    if step.kept:
        present = texts(await kube.get(SECRETS, step.secret["metadata"]["name"], cluster.namespace))
        files |= {file: present[file] for file in step.kept if file in present}
    await _write(kube, step.secret | {"data": _encoded(files)}, ours=step.ours)


async def _given(kube: KubeApi, pki: Pki, name: str, world: World) -> str:
    """What was found fit when it was observed, or ConflictError: it may have changed since."""
    data = texts(await kube.get(SECRETS, name, world.cluster.metadata.namespace))
    certificate = public_part(data.get(TLS_CRT, ""))
    try:
        key = pki.as_pkcs8(data.get(TLS_KEY, ""))
        is_pair = pki.inspect(KeyPair(certificate, key), certificate).key_matches
    except PkiError as error:
        raise ConflictError(409, "Conflict", f"Secret {name} has changed: {error}") from None
    observed = world.access.given.values() if world.access is not None else ()
    if not is_pair or certificate not in {one.public for one in observed if one.secret == name}:
        raise ConflictError(409, "Conflict", f"Secret {name} has changed since it was read")
    return key + certificate


async def _reload(admins: KafkaAdmins, tools: Certificates, node_id: int, world: World) -> None:
    node, client = world.observation.node(node_id), world.access.client if world.access is not None else None
    if node is None or client is None:
        return
    listener = Way(world.cluster, client, tools.by_name).own_listener(node)
    if listener is not None:
        await admins.reload(node_id, f"{listener[0]}:{listener[1]}", client)


async def _write(kube: KubeApi, manifest: Object, *, ours: bool) -> None:
    """Server-side apply; a Secret of that name that is not ours is left alone."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    if not ours and await secrets.read(kube, name, namespace) is not None:
        raise _taken(name)
    await kube.apply(SECRETS, manifest)


def _taken(name: str) -> AlreadyExistsError:
    why = f"Secret {name} exists and is not kfleet's; remove it or rename one of the two"
    return AlreadyExistsError(409, "AlreadyExists", why)


async def _annotate(kube: KubeApi, name: str, namespace: str, marks: dict[str, str]) -> None:
    """One that is gone meanwhile is made anew by the next pass."""
    try:
        await kube.patch(SECRETS, name, namespace, {"metadata": {"annotations": marks}})
    except NotFoundError:
        return


def _encoded(files: dict[str, str]) -> dict[str, str]:
    return {name: _encode(text) for name, text in files.items()}


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
