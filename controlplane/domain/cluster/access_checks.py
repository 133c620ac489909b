"""What is wrong with a cluster's authorities and certificates, and what a spec is refused for. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.api.access import AuthenticationType, WhenNoAcl
from controlplane.api.conditions import timestamp
from controlplane.domain.access import listeners
from controlplane.domain.access.pki import Certificate
from controlplane.domain.access.values import Access, Given
from controlplane.domain.check import Check
from controlplane.domain.cluster import entrances, naming, properties, users
from controlplane.domain.cluster.access import both, is_used
from controlplane.domain.cluster.last import last_protocols, last_settings
from controlplane.domain.cluster.world import World
from controlplane.domain.rolling.health import listing


def problems(world: World) -> tuple[Check, ...]:
    """What is wrong and touches nobody yet, the worst first: keys that are gone, certificates that end."""
    return tuple(_problems(world))


def awaited(world: World) -> tuple[Check, ...]:
    """Users that a succession waits for, once nothing else holds it."""
    access = world.access
    if access is None:
        return ()
    late = [
        authority
        for authority, _ in both(access)
        if not authority.problem and world.observation.as_of >= authority.since + access.lifetimes.overlap
    ]
    return tuple(check for authority in late for check in users.awaited(world, authority))


def _problems(world: World) -> Iterator[Check]:
    access = world.access
    if access is None:
        return
    for name in sorted(access.taken):
        yield Check(
            "NameTaken",
            ok=False,
            evidence=f"Secret {name} exists and is not kfleet's.",
            remedy="It is not touched. Remove it, or rename the cluster.",
        )
    for authority in (access.cluster_ca, access.clients_ca):
        key = naming.authority_key(authority.name)
        if authority.problem or (authority.current is None and is_used(access, authority)):
            yield Check(
                "AuthorityKeyMissing",
                ok=False,
                evidence=f"Secret {key}: {authority.problem or 'it is gone, and what it signed is in use'}.",
                remedy="Put it back from a copy; no certificate can be signed or renewed without it. Those in use work "
                "until they end.",
            )
    for item in world.cluster.spec.listeners:
        found = access.given.get(item.name)
        if found is not None and found.problem:
            waiting, untold = _without(world, access, item.name), entrances.held_back(world, item)
            yield _bad_certificate(item.name, found, waiting, untold)
    yield from _ends(world, access)


def held_back(world: World) -> tuple[Check, ...]:
    """Given certificates for whose sake clients are not told yet what was declared."""
    access = world.access
    if access is None:
        return ()
    names = {item.name: entrances.held_back(world, item) for item in world.cluster.spec.listeners}
    return tuple(_bad_certificate(name, access.given[name], (), untold) for name, untold in names.items() if untold)


def _without(world: World, access: Access, listener: str) -> tuple[int, ...]:
    """Brokers that never had a certificate to show on this listener: they cannot start before there is one."""
    file = listeners.LISTENER_PEM.format(name=listener)
    brokers = [node.id for node in world.observation.nodes if node.is_broker]
    return tuple(node for node in brokers if node not in access.nodes or file not in access.nodes[node].files)


def _bad_certificate(listener: str, given: Given, waiting: tuple[int, ...] = (), untold: tuple[str, ...] = ()) -> Check:
    held = f" Waiting for it to start: node {listing(waiting)}." if waiting else ""
    held += f" Clients are not told before: {listing(untold)}." if untold else ""
    remedy = "Have it issued for them too (cert-manager: dnsNames, ipAddresses)" if given.missing else ""
    return Check(
        "ListenerCertificateInvalid",
        ok=False,
        evidence=f"spec.listeners[{listener}].certificateSecretRef: Secret {given.secret} {given.problem}.{held}",
        remedy=f"{remedy or 'Correct the Secret'}, or take the field out for a certificate of the cluster's own "
        "authority.",
    )


def _ends(world: World, access: Access) -> Iterator[Check]:
    now = world.observation.as_of
    for secret, certificate in sorted(in_use(world).items(), key=lambda item: item[1].not_after):
        if now < certificate.not_after - access.lifetimes.warn_before:
            continue
        over = now >= certificate.not_after
        yield Check(
            "CertificateExpired" if over else "CertificateExpiring",
            ok=False,
            evidence=f"The certificate in Secret {secret} {'ended' if over else 'ends'} at "
            f"{timestamp(certificate.not_after)}.",
            remedy="The operator renews its own long before; its log says what keeps it. One that was given for a "
            "listener is its owner's to renew.",
        )


def in_use(world: World) -> dict[str, Certificate]:
    """By Secret: authorities, the operator's, that of a node which ends first, and those given for listeners."""
    access, name = world.access, world.cluster.metadata.name
    if access is None:
        return {}
    found = {authority.name: authority.current for authority in (access.cluster_ca, access.clients_ca)}
    if access.operator is not None:
        found[naming.operator_tls(name)] = access.operator.certificate
    nodes = [
        (held.certificate.not_after, naming.node_tls(name, node.pool, node.id), held.certificate)
        for node in world.observation.nodes
        if (held := access.nodes.get(node.id)) is not None and held.certificate is not None
    ]
    if nodes:
        _, secret, certificate = min(nodes, key=lambda entry: entry[:2])
        found[secret] = certificate
    found |= {given.secret: given.certificate for given in access.given.values()}
    return {secret: certificate for secret, certificate in found.items() if certificate is not None}


def refusals(world: World) -> Iterator[Check]:
    """What a spec is refused for: what was chosen for good, and certificates that no node could serve."""
    spec = world.cluster.spec
    for node in world.observation.nodes:
        last, asked = last_protocols(world, node), last_settings(world, node)
        inner = last.get(properties.CONTROLLER_LISTENER)
        if inner is not None and (inner == "SSL") != spec.mutual_tls:
            yield Check(
                "SecurityChangeRefused",
                ok=False,
                evidence=f"spec.security.nodes: node {node.id} runs with "
                f"{'MutualTls' if inner == 'SSL' else 'Plaintext'}, which never changes.",
                remedy="Set it back. Another cluster is where it is chosen anew.",
            )
            return
        for item in spec.listeners:
            before = last.get(item.name.upper())
            wanted = properties.Listener(item.name, item.port, item.tls, item.authentication)
            auth = asked.get(listeners.CLIENT_AUTH.format(name=item.name))  # None: a controller alone has none of it
            certified, wants = auth == "required", wanted.mechanism is AuthenticationType.TLS
            if before is None:
                continue
            if before != wanted.protocol or (auth is not None and certified != wants):
                yield Check(
                    "ListenerChangeRefused",
                    ok=False,
                    evidence=f"spec.listeners[{item.name}]: tls and authentication never change, and node {node.id} "
                    f"has it as {before}{' with certificates of users' if certified else ''}.",
                    remedy="Set them back. Add another listener, move the clients, then remove this one.",
                )
                return
    yield from _closed_at_once(world)
    yield from users.cut_off(world, stages(world))
    if world.access is not None:
        yield from _unusable(world, world.access)


def _closed_at_once(world: World) -> Iterator[Check]:
    """Brokers of a cluster in use that deny what no ACL allows before there can be any would cut off everybody."""
    wanted = world.cluster.spec.authorization
    if wanted is None or wanted.when_no_acl is WhenNoAcl.ALLOW:
        return
    for node in world.observation.nodes:
        last = last_settings(world, node)
        if last and listeners.AUTHORIZER not in last:
            yield Check(
                "AuthorizationWouldCutOff",
                ok=False,
                evidence=f"spec.authorization.whenNoAcl: Deny, and node {node.id} runs without authorization: its "
                "clients have no ACLs.",
                remedy="Set it to Allow, let the roll end, give every user its ACLs, then set it to Deny.",
            )
            return


def stages(world: World) -> frozenset[WhenNoAcl]:
    """What nodes do where no ACL is about a resource, as they were last started; empty without authorization."""
    found = {last_settings(world, node).get(listeners.ALLOWS_UNLISTED) for node in world.observation.nodes}
    words = {"true": WhenNoAcl.ALLOW, "false": WhenNoAcl.DENY}
    return frozenset(stage for word, stage in words.items() if word in found)


def when_no_acl(world: World) -> WhenNoAcl | None:
    """What the cluster as a whole does: it is closed once every node is."""
    found = stages(world)
    return WhenNoAcl.ALLOW if WhenNoAcl.ALLOW in found else WhenNoAcl.DENY if found else None


def _unusable(world: World, access: Access) -> Iterator[Check]:
    """A given certificate that cannot be used, where no node has an earlier one that can.

    One that lacks names refuses no cluster whose brokers have never run: where they will be is known once there are
    pods, and all that is missing is told at once. Until then these wait for it.
    """
    volumes = [volume for node in world.observation.nodes if node.is_broker for volume in node.volumes]
    new = not any(volume.formatted for volume in volumes)
    for item in world.cluster.spec.listeners:
        given, file = access.given.get(item.name), listeners.LISTENER_PEM.format(name=item.name)
        if given is None or not given.problem or any(file in held.files for held in access.nodes.values()):
            continue
        if not (new and given.missing):
            yield _bad_certificate(item.name, given)
