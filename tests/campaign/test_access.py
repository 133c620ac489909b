"""`make campaign-access`: who is let in, on real brokers, while authorities, certificates and passwords change.

Clients follow their Secrets as services do, and write all the time; a scenario passes when they had nothing but retried
requests and whoever must not get in did not, each time beside one that did. The succession comes first: its authority
lives for ten minutes. The record goes to docs/evidence once all scenarios have run.
"""

from __future__ import annotations

import base64
import json
import secrets as randomness
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic
from support import access_verdict as verdict
from support.access_scenes import (
    BOTH,
    CLUSTER_KEY,
    as_it_is,
    goes_on,
    judge_clients_authority,
    judge_cluster_authority,
    renew_given,
    restarts,
    stage_of,
    succession,
)
from support.access_stage import LEAVERS, LONG, MEMBERS, VERSION, Hall, Place, Scene, said, served
from support.access_verdict import complaints, scenario_problems
from support.doors import HOUR, Doors, anonymous_is_answered, let_in, pki
from support.evidence import write_record
from support.following import Steady, steady
from support.leaks import key_lines
from support.sandbox import Sandbox
from support.secure_clients import SECONDS, admin, is_let_in, secret
from support.user_clients import DENIED, Client, java_offsets
from support.users import rule, user

from controlplane.domain.access.pem import public_part

pytestmark = pytest.mark.timeout(1800)
DUE = {"AUTHORITY_LIFETIME": LONG, "AUTHORITY_RENEW_BEFORE": "590"}
"""The authority of ten minutes is followed at once, the one that follows it is not."""
DUE_AGAIN = {"AUTHORITY_RENEW_BEFORE": str(int(LONG) - 1)}
NOT_DUE = {"AUTHORITY_RENEW_BEFORE": "1"}


@pytest.fixture(scope="module")
def hall(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    made = Hall(sandbox, tmp_path_factory.mktemp("campaign"))
    try:
        yield made
    finally:
        made.end()
        outcomes = {"scenarios": [result.__dict__ for result in made.results]}
        if {result.name for result in made.results} >= set(verdict.SCENARIOS):
            write_record(verdict.RECORD, passed=not scenario_problems(outcomes), outcomes=outcomes)
        else:
            print("campaign: not all scenarios ran, so no record is written")


@pytest.fixture(autouse=True)
def dump_on_failure() -> None:
    """In place of the one for tests that share a cell; `Cell.wait` shows the state with what did not come true."""


# One authority follows another.


def test_succession_under_traffic(hall: Hall, tmp_path: Path) -> None:
    """Of both authorities at once. A client that does not follow its Secret is the control."""
    with hall.scenario(verdict.CLUSTER_CA) as cluster, hall.scenario(verdict.CLIENTS_CA) as clients:
        place = hall.combined()
        cell, stops, before = place.cell, place.stops(), as_it_is(place)
        app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
        stubborn = Steady(place.mounts, "app", "orders", follows=False, patience_s=10)
        with steady(cell, app, cert, stubborn):
            place.operate(**DUE)
            succession(place, *BOTH)
            goes_on(place, app, cert)
        read = place.read()
        cluster.fared(read, app)
        clients.fared(read, cert)
        cluster.figures["restarts"] = dict(restarts(stops))
        cluster.check("every node was restarted twice", ok=restarts(stops) == dict.fromkeys(range(3), 2))
        judge_cluster_authority(place, cluster, before)
        judge_clients_authority(place, clients, before)
        java_new = java_offsets(tmp_path, place.user("app"), "orders", VERSION)
        java_old = java_offsets(tmp_path, before.users["app"], "orders", VERSION)
        cluster.check("a Java client with the new one is served", ok=java_new.returncode == 0)
        cluster.check("a Java client with the old one refuses", ok=java_old.returncode != 0 and "SSL" in text(java_old))
        found = complaints(stubborn.account(read))
        cluster.check("control: a client that did not follow is complained about", ok=bool(found))
        hall.controls += [f"a client that did not follow: {found}"] if found else []


def text(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_operator_killed_in_each_stage_of_a_succession(hall: Hall) -> None:
    with hall.scenario(verdict.KILLED) as scene:
        place = hall.combined()
        cell, stops, lives = place.cell, place.stops(), place.supervisor.restarts
        first = secret(cell, CLUSTER_KEY)["ca.crt"]
        app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
        with steady(cell, app, cert):
            place.operate(**{"AUTHORITY_LIFETIME": LONG} | DUE_AGAIN)
            cell.wait("both trusted", lambda: "next.crt" in stage_of(place, *BOTH), 60)
            place.kill_operator()
            cell.wait("a node to be restarted", lambda: len(stops.all()) >= 1, 120)
            place.kill_operator()
            cell.wait("the new one to sign", lambda: "old.crt" in stage_of(place, *BOTH), 300)
            cell.operator.settings |= {f"KFLEET_{key}": value for key, value in NOT_DUE.items()}
            place.kill_operator()
            cell.wait("a node to be restarted again", lambda: len(stops.all()) >= 4, 120)
            place.kill_operator()
            cell.wait("the old one dropped", lambda: not stage_of(place, *BOTH), 300)
            place.kill_operator()
            cell.wait_ready()
            goes_on(place, app, cert)
        scene.fared(place.read(), app, cert)
        scene.figures["restarts"] = dict(restarts(stops))
        scene.figures["kills"] = place.supervisor.restarts - lives
        scene.check(
            "every node was restarted twice, and none more often", ok=restarts(stops) == dict.fromkeys(range(3), 2)
        )
        scene.check("another authority signs", ok=secret(cell, CLUSTER_KEY)["ca.crt"] != first)
        scene.check("five operators ended", ok=place.supervisor.restarts - lives >= 5)


# Who is refused.


def test_strangers_at_every_door(hall: Hall) -> None:
    with hall.scenario(verdict.REFUSED) as scene:
        place = hall.combined()
        doors, app = place.doors(), place.user("app")
        known = {"controller": doors.operator, "replication": doors.operator}
        known |= {door: place.login(name) for name, door in MEMBERS.items()}
        scene.figures["doors"] = sorted(doors.every)
        scene.check("every listener has somebody who is known there", ok=known.keys() == doors.every.keys())
        nobody_else(scene, doors, known, user="app", password=app["password"])


def nobody_else(scene: Scene, doors: Doors, known: Mapping[str, dict[str, Any]], *, user: str, password: str) -> None:
    found = let_in(doors, known, user=user, password=password)
    scene.check("those that are known get in", ok={("known", door) for door in known} <= found)
    others = sorted(case for case in found if case[0] != "known")
    scene.check(f"nobody else does{others or ''}", ok=not others)
    scene.check(
        "control: who asks without a certificate is answered where none is asked for", ok=anonymous_is_answered(doors)
    )


def test_outside_of_acls(hall: Hall) -> None:
    with hall.scenario(verdict.OUTSIDE) as scene:
        place = hall.combined()
        doors = place.doors()
        scene.figures["doors"] = sorted(MEMBERS.values())
        scene.check(
            "every users' listener", ok={*MEMBERS.values()} == doors.every.keys() - {"controller", "replication"}
        )
        for name, door in MEMBERS.items():
            client = Client(place.user(name))
            scene.check(f"{name} writes where it may, through {door}", ok=client.produces("orders", ""))
            scene.check(f"{name} does not write elsewhere", ok=client.produces("secrets", DENIED))
            scene.check(f"{name} sees no other topic", ok=client.topics() == {"orders"})
            scene.check(f"{name} makes no topic", ok=not makes_topic(doors.every[door], place.login(name)))


def makes_topic(server: str, settings: Mapping[str, Any]) -> bool:
    """Anything but a refusal of the brokers is raised."""
    client = admin(server, settings)
    try:
        client.create_topics([NewTopic("x", 1, 1)])["x"].result(SECONDS * 4)
    except KafkaException as error:
        if "AUTHORIZATION" not in error.args[0].name():
            raise
        return False
    return True


def test_revoked_on_a_live_connection(hall: Hall) -> None:
    """Through every listener; a password is refused from then on, a certificate that still counts is denied."""
    with hall.scenario(verdict.REVOKED) as scene:
        place = hall.combined()
        scene.figures["doors"] = sorted(LEAVERS.values())
        of_certificates = place.doors().of_certificates
        for name, door in LEAVERS.items():
            found = place.user(name)
            client = Client(found)
            scene.check(f"{name} writes", ok=client.produces("orders", ""))
            done = place.kfleet("user", "revoke", name, "--confirm", name, "--reason", "campaign")
            scene.check(f"kfleet user revoke {name}", ok=done.returncode == 0)
            scene.check(f"{name} is denied on the connection that was open", ok=client.produces("orders", DENIED))
            if door in of_certificates:
                scene.check("its certificate is denied", ok=Client(found).produces("orders", DENIED))
            else:
                scene.check("its password is refused", ok=Client(found).is_refused())


def began_anew(one: Steady) -> bool:
    return one.clients >= 2


def test_credentials_rotated_with_running_clients(hall: Hall) -> None:
    with hall.scenario(verdict.ROTATED) as scene:
        place = hall.combined()
        before = {name: place.user(name) for name in ("app", "cert")}
        app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
        with steady(place.cell, app, cert):
            for one in (app, cert):
                done = place.kfleet("user", "rotate", one.name, "--yes")
                scene.check(f"kfleet user rotate {one.name}", ok=done.returncode == 0)
                place.cell.wait(f"{one.name} to take the new ones", partial(began_anew, one), 60)
            goes_on(place, app, cert)
        scene.fared(place.read(), app, cert)
        after = {name: place.user(name) for name in ("app", "cert")}
        scene.check("another password", ok=after["app"]["password"] != before["app"]["password"])
        scene.check("another certificate", ok=after["cert"]["user.crt"] != before["cert"]["user.crt"])
        scene.check("the new password is taken", ok=Client(after["app"]).produces("orders", ""))
        scene.check("the former one is refused", ok=Client(before["app"]).is_refused())


# What people do to Secrets.


def test_secrets_edited_and_deleted_by_hand(hall: Hall) -> None:
    with hall.scenario(verdict.BY_HAND) as scene:
        place = hall.combined()
        cell = place.cell
        stranger = pki.make_authority("cell cluster CA", HOUR)
        app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
        with steady(cell, app, cert):
            for name in ("cell-cluster-ca", "cell-clients-ca", "cell-operator-tls"):
                right = secret(cell, name)["ca.crt"]
                place.edit_secret(name, {"ca.crt": stranger.certificate})
                put_back(place, f"{name}, edited", name, "ca.crt", right)
                scene.check(f"{name} was put right", ok=True)
            for name in ("cell-cluster-ca", "cell-operator-tls"):
                cell.kubectl("delete", "secret", name)
                cell.wait(f"{name}, deleted", partial(is_there, place, name), 60)
                scene.check(f"{name} came back", ok=True)
            served_before = secret(cell, "cell-nodes-0-tls")["node.pem"]
            place.edit_secret("cell-nodes-0-tls", {"node.pem": "by hand"})
            cell.wait("another certificate of the node", lambda: fresh(place, served_before), 120)
            cell.wait_ready()
            scene.check("a node's certificate was signed anew", ok=True)
            lost_key(place, scene)
            goes_on(place, app, cert)
        scene.fared(place.read(), app, cert)
        shop = place.user("shop")
        place.edit_secret("shop", {"bootstrap.servers": "elsewhere:9092", "librdkafka.json": "{}"})
        put_back(place, "shop, edited", "shop", "librdkafka.json", shop["librdkafka.json"])
        scene.check("an edited Secret of a user was put right", ok=place.user("shop") == shop)
        cell.kubectl("delete", "secret", "shop")
        cell.wait("the Secret of shop", lambda: "shop" in names(place), 60)
        place.wait_users("shop")
        now = place.user("shop")
        scene.check("a deleted one has another password", ok=now["password"] != shop["password"])
        scene.check("which is taken", ok=Client(now).produces("orders", ""))
        scene.check("and the former one refused", ok=Client(shop).is_refused())
        told = {event["reason"] for event in cell.events()}
        scene.check("Events told of it", ok=told >= {"CredentialsReplaced", "SecretUpdated", "AuthorityKeyMissing"})


def is_there(place: Place, secret: str) -> bool:
    return secret in names(place)


def names(place: Place) -> set[str]:
    return {name.removeprefix("secret/") for name in place.cell.kubectl("get", "secrets", "-o", "name").split()}


def put_back(place: Place, what: str, name: str, key: str, right: str) -> None:
    place.cell.wait(what, lambda: secret(place.cell, name).get(key) == right, 60)


def fresh(place: Place, former: str) -> bool:
    now = secret(place.cell, "cell-nodes-0-tls")["node.pem"]
    return now != former and bool(key_lines(now))


def lost_key(place: Place, scene: Scene) -> None:
    """An authority's key that is gone is told, not made again, and works once it is back."""
    cell, name = place.cell, CLUSTER_KEY
    kept = cell.get("secret", name)
    cell.kubectl("delete", "secret", name)
    cell.wait("the lost key to be told", lambda: said(cell, "CertificatesCurrent", name), 60)
    scene.check("no other authority was made in its place", ok=name not in names(place))
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        kept["metadata"].pop(field, None)
    cell.kubectl("create", "-f", "-", stdin=json.dumps(kept))
    cell.wait("the key to count again", lambda: cell.condition("CertificatesCurrent")["status"] == "True", 60)
    scene.check("the key came back from a copy", ok=True)


def test_given_certificate(hall: Hall) -> None:
    """Brokers take what is right without a restart, and keep what they have when it is not."""
    with hall.scenario(verdict.GIVEN) as scene:
        place = hall.combined()
        cell, stops = place.cell, place.stops()
        scene.figures["said"] = [place.said]
        scene.check("one for another host was refused at first", ok="is not for " in place.said)
        shop = Steady(place.mounts, "shop", "orders")
        with steady(cell, shop):
            renewed = renew_given(place, scene)
            for words, change in (
                ("is not the key of tls.crt", {"key": pki.make_authority("x", HOUR).key}),
                ("is not for ", {"hosts": ("kafka.example.com",)}),
                (f"is not for {place.giver.service()}, where clients connect", {"hosts": place.giver.pods()}),
            ):
                place.giver.give(**change)
                told = cell.wait(words, partial(said, cell, "CertificatesCurrent", words), 60)
                scene.figures["said"].append(told)
                scene.check(f"{words.strip()}: brokers stay with what they have", ok=place.serves(renewed))
            short = place.giver.give(60)
            cell.wait("brokers to show one that ends soon", lambda: place.serves(short), 60)
            told = cell.wait("its end", lambda: said(cell, "CertificatesCurrent", "ended at"), 90)
            scene.figures["said"].append(told)
            settings = place.mounts.settings("shop") or {}
            scene.check(
                "a client refuses the one that has ended", ok=not is_let_in(place.doors().more["given"], settings)
            )
            whole = place.giver.give()
            cell.wait("brokers to show another one", lambda: place.serves(whole), 120)
            scene.check("and takes the next", ok=is_let_in(place.doors().more["given"], settings))
            goes_on(place, shop)
        scene.fared(place.read(), shop)
        scene.check("nobody was restarted", ok=not stops.all())


def test_no_secret_is_anywhere_else(hall: Hall) -> None:
    """After everything that was done on this cluster; and the controls of the campaign."""
    with hall.scenario(verdict.LEAKS) as scene:
        place = hall.combined()
        place.mounts.look()
        scene.figures["secrets"] = len(place.mounts.seen)
        found = place.leaks()
        scene.check(f"no secret anywhere{found or ''}", ok=not found)
        scene.check("there were secrets to find", ok=len(place.mounts.seen) > 20)
    with hall.scenario(verdict.CONTROL) as scene:
        planted = randomness.token_urlsafe(24)
        body = base64.b64encode(f"sasl.password={planted}".encode()).decode()
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "planted"}, "message": f"data: {body}"}
        involved = {"kind": "KafkaCluster", "name": "cell", "namespace": place.cell.namespace}
        place.cell.apply(event | {"involvedObject": involved})
        with place.cell.operator.log.open("a") as log:
            log.write(f"planted {planted}\n")
        process = subprocess.Popen([sys.executable, "-c", "input()", planted], stdin=subprocess.PIPE)
        try:
            where = set(place.leaks([planted]))
        finally:
            process.communicate(b"\n")
        log_file = str(place.cell.operator.log)
        scene.check(
            "a planted secret, also in base64", ok={"objects", log_file, f"cmdline of process {process.pid}"} <= where
        )
        app = Steady(place.mounts, "app", "orders")
        with steady(place.cell, app):
            place.cell.wait("enough traffic", lambda: len(app.acknowledged) > verdict.MINIMUM_ACKNOWLEDGED, 60)
        read = place.read()
        scene.check("nothing is said against a client that fared well", ok=not complaints(app.account(read)))
        del read[next(iter(app.acknowledged))]
        scene.check("a record taken out of what was read", ok=complaints(app.account(read)) == ["1 records lost"])
        scene.figures["found"] = hall.controls
        scene.check("a client that did not follow its Secret", ok=bool(hall.controls))


# Controllers and brokers apart, by name; authorization in stages.


def test_pools_apart_and_by_name(hall: Hall) -> None:
    with hall.scenario(verdict.POOLS) as pools, hall.scenario(verdict.BY_NAME) as named:
        place = hall.apart()
        cell, doors = place.cell, place.doors()
        roles = {node: found["metadata"]["labels"]["kfleet.dev/pool"] for node, found in cell.pods().items()}
        pools.figures["pools"] = dict(Counter(roles.values()))
        addresses = {node: found["status"]["podIP"] for node, found in cell.pods().items()}
        for node, pool in sorted(roles.items()):
            held = pki.read(public_part(secret(cell, f"cell-{pool}-{node}-tls")["node.pem"]))[0].fingerprint
            port = 9090 if pool == "controllers" else 9091
            pools.check(f"node {node} ({pool}) shows its own certificate", ok=served(addresses[node], port) == held)
        pools.check("no controller has a users' listener", ok=not served(min_of(addresses, roles, "controllers"), 9093))
        for name, door in (("app", "passwords"), ("cert", "certificates")):
            pools.check(f"{name} writes through {door}", ok=Client(place.user(name)).produces("orders", ""))
        known = {"controller": doors.operator, "replication": doors.operator}
        known |= {"passwords": place.login("app"), "certificates": place.login("cert")}
        pools.figures["doors"] = sorted(doors.every)
        nobody_else(pools, doors, known, user="app", password=place.user("app")["password"])
        servers = cell.cluster()["status"]["bootstrapServers"]
        named.figures["bootstrapServers"] = servers
        named.check("clients are given names", ok=all(".svc:" in server for server in servers))
        hosts = {
            node: pki.read(public_part(secret(cell, f"cell-{pool}-{node}-tls")["node.pem"]))[0].hosts
            for node, pool in roles.items()
        }
        named.check(
            "no certificate has an address of a pod",
            ok=not any(addresses[node] in found for node, found in hosts.items()),
        )
        brokers = admin(doors.passwords, place.mounts.settings("app") or {}).list_topics(timeout=SECONDS * 2).brokers
        advertised = sorted(broker.host for broker in brokers.values())
        named.figures["advertised"] = advertised
        named.check(
            "brokers tell their names", ok=len(advertised) == 2 and all(host.endswith(".svc") for host in advertised)
        )
        by_address = f"{addresses[max(addresses)]}:9093"
        settings = place.login("app")
        named.check("who comes by address refuses the certificate", ok=not is_let_in(by_address, settings))
        unnamed = settings | {"ssl.endpoint.identification.algorithm": "none"}
        named.check("control: one that does not look at names is served", ok=is_let_in(by_address, unnamed))
        named.check("who comes by name is served", ok=is_let_in(doors.passwords, settings))


def min_of(addresses: Mapping[int, str], roles: Mapping[int, str], pool: str) -> str:
    return addresses[min(node for node, name in roles.items() if name == pool)]


def test_authorization_in_stages(hall: Hall) -> None:
    """`app` and `cert` have ACLs and go on; `guest` has none, goes on while the rest is let through, and ends then."""
    with hall.scenario(verdict.STAGES) as scene:
        place = hall.apart()
        cell, lives = place.cell, place.supervisor.restarts
        app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
        guest = Steady(place.mounts, "guest", "open")
        cell.patch({"authorization": {"type": "Standard"}})
        told = cell.wait("Deny at once to be refused", lambda: said(cell, "Ready", "whenNoAcl: Deny"), 60)
        scene.figures["said"] = [told]
        with steady(cell, app, cert):
            with steady(cell, guest):
                allow = {"authorization": {"type": "Standard", "whenNoAcl": "Allow"}}
                staged(place, scene, lambda: cell.patch(allow))
                place.wait_users("app", "cert", "guest")
                goes_on(place, app, cert, guest)
                cell.apply(user("late", rule("orders", "Read"), listener="passwords") | {"metadata": paused("late")})
            cell.patch({"authorization": {"type": "Standard", "whenNoAcl": "Deny"}})
            told = cell.wait("Deny to wait for a user", lambda: said(cell, "Ready", "late"), 60)
            scene.figures["said"].append(told)
            scene.check("it says which user is not Ready", ok=told.startswith("UsersNotReady"))
            going = ("annotate", "kafkausers.kfleet.dev", "late", "kfleet.dev/paused-")
            staged(place, scene, lambda: cell.kubectl(*going))
            goes_on(place, app, cert)
        read = place.read()
        scene.fared(read, app, cert)
        scene.figures["traffic"]["guest"] = account = guest.account(place.read("open"))
        scene.problems += [f"guest: {wrong}" for wrong in complaints(account)]
        scene.check("status.whenNoAcl is Deny", ok=cell.cluster()["status"].get("whenNoAcl") == "Deny")
        scene.check("without ACLs one is refused now", ok=Client(place.user("guest")).produces("open", DENIED))
        scene.check("operators were killed", ok=place.supervisor.restarts - lives >= 2)
        found = place.leaks()
        scene.check(f"no secret anywhere{found or ''}", ok=not found)


def paused(name: str) -> dict[str, Any]:
    return {"name": name, "annotations": {"kfleet.dev/paused": "true"}}


def staged(place: Place, scene: Scene, begin: Callable[[], object]) -> None:
    """One stage to its end: the operator is killed after the first restart, controllers go before brokers."""
    cell, stops = place.cell, place.stops()
    begin()
    cell.wait("a node to be restarted", lambda: len(stops.all()) >= 1, 120)
    place.kill_operator()
    cell.wait("the stage over", lambda: len(stops.all()) >= 5 and cell.is_ready(), 400)
    order = [stop.node for stop in stops.all()]
    controllers = {
        node for node, pod in cell.pods().items() if pod["metadata"]["labels"]["kfleet.dev/controller"] == "true"
    }
    scene.figures.setdefault("order", []).append(order)
    scene.check(
        "controllers first, each node once", ok=set(order[:3]) == controllers and len(order) == len(set(order)) == 5
    )
