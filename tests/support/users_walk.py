"""KafkaUsers through random sequences of what people, clocks, brokers and crashes do, and who could get in meanwhile.

A witness notes down every password that Kafka ever had and every certificate that a Secret ever held, and who had them
when their principal was denied everything. `wrongs` is what must never be:

- a password that was taken from Kafka to keep its user out is in Kafka again;
- a session that was opened with such a password, or a certificate that was made before, has rights before it has ended;
- a rule, quota or password that somebody else made is gone, or changed;
- a user that is Ready has other rules than it declares, or a password that its Secret does not hold;
- a password stands anywhere but in Secrets.
"""

from __future__ import annotations

import base64
import contextlib
import random
from collections import defaultdict
from dataclasses import dataclass, field

from support.simulation import DieAt, Killed
from support.users import DENIALS, UserSpace, put_authority, rule, user, user_space

from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.domain.users.values import Acl

OBJECTS = {"app": "app", "twin": "app", "cert": "cert", "other": "cert"}
"""Objects and the users that they are; two of each, of which the first to be let in has the name."""
TOPICS = ("orders", "bills")
FOREIGN = (
    Acl("User:app", "topic", "theirs", "literal", "Read", "allow"),
    Acl("User:cert", "group", "theirs", "prefixed", "Read", "allow"),
    Acl("User:else", "topic", "orders", "literal", "Read", "allow"),
)
CLUSTER = ("kafkaclusters", "kafka", "cell")


@dataclass
class Witness:
    """Of one user's name: what may be about, and until when. Times in seconds since the epoch."""

    passwords: dict[str, float] = field(default_factory=dict)
    """Every password that Kafka had since its user was last kept out, and when it was last seen there."""
    spent: dict[str, float] = field(default_factory=dict)
    certificates: dict[str, float] = field(default_factory=dict)
    """Every certificate that a Secret held, by its text, and its end."""
    withdrawn: dict[str, float] = field(default_factory=dict)
    """Those that were about when its user was denied, or could not be; what is made while a denial stands is the next
    user's."""
    denied: bool = False
    objects: set[str] = field(default_factory=set)
    """UIDs of those that had credentials of this name."""


class Walk:
    """`told` is what happened so far, a line an event."""

    def __init__(self, space: UserSpace) -> None:
        self.space, self.dice = space, random.Random(0)
        self.told: list[str] = []
        self.witnesses: dict[str, Witness] = defaultdict(Witness)
        self.foreign: set[Acl] = set()
        self.away: dict[str, object] | None = None
        self.lets_unlisted_through = False
        self.has_looked = True
        """A pass has been through since the stage changed."""
        self.written = 0

    async def step(self, event: int) -> None:
        """What happens is drawn from `event` alone and from what is there, so that a walk can be made shorter."""
        self.dice = random.Random(event)
        act = self.dice.choice(
            [self.one_pass] * 6
            + [self.dying_pass] * 3
            + [self.declare] * 3
            + [self.delete, self.delete, self.revoke, self.revoke, self.release, self.release, self.rotate, self.respec]
            + [self.time] * 3
            + [self.lose_secret, self.edit_secret, self.write_password, self.drop_scram, self.drop_rule, self.add_rule]
            + [self.go_away, self.come_back, self.come_back, self.pause, self.resume, self.resume]
            + [self.lose_brokers, self.find_brokers, self.find_brokers, self.change_stage, self.change_stage]
        )
        told = await act()
        if self.dice.random() < 0.5:
            self.collect()
        self.told.append(f"{act.__name__} {told or ''}")
        self.look()

    def pick(self, *, there: bool = True) -> str | None:
        found = [name for name in OBJECTS if self.space.has_user(name) == there]
        return self.dice.choice(found) if found else None

    async def one_pass(self) -> None:
        await self.space.passes()
        self.has_looked = self.has_looked or (self.away is None and self.space.kafka.up == set(self.space.kafka.ids))

    async def change_stage(self, *, to: str | None = None) -> str | None:
        """Of whenNoAcl. When denials can be made again each broker has been restarted, and no session is left."""
        if self.away is not None:
            return None
        stage = to or ("Deny" if self.lets_unlisted_through else "Allow")
        if self.lets_unlisted_through != (stage == "Allow"):
            self.lets_unlisted_through, self.has_looked = stage == "Allow", False
            self.space.stage(stage)
            for witness in self.witnesses.values():
                witness.spent = dict.fromkeys(witness.spent, 0.0)
        return stage

    async def dying_pass(self) -> str:
        die = DieAt(self.dice.randint(1, 9), self.dice.choice(["before", "after"]))
        with contextlib.suppress(Killed, BaseExceptionGroup):
            await self.space.passes(die=die)
        return f"{die.number} {die.phase}: {die.calls}"

    async def declare(self) -> str | None:
        if (name := self.pick(there=False)) is None:
            return None
        kind = "tls" if OBJECTS[name] == "cert" and self.dice.random() < 0.8 else "scram-sha-512"
        rules = [rule(topic) for topic in TOPICS if self.dice.random() < 0.6]
        made = user(name, *rules, kind=kind, userName=OBJECTS[name], quotas={"consumerByteRate": "5"})
        await self.space.declare_users(made)
        return f"{name} {kind} {len(rules)}"

    async def _mark(self, **marks: str | None) -> str | None:
        if (name := self.pick()) is not None:
            await self.space.annotate(name, **marks)
        return name

    async def delete(self) -> str | None:
        if (name := self.pick()) is not None:
            await self.space.delete(name)
        return name

    async def revoke(self) -> str | None:
        return await self._mark(revoked="leaked")

    async def release(self) -> str | None:
        return await self._mark(revoked=None)

    async def rotate(self) -> str | None:
        if (name := self.pick()) is not None:
            await self.space.annotate(name, rotate_at=str(self.space.clock.now()))
        return name

    async def respec(self) -> str | None:
        if (name := self.pick()) is not None:
            acls = [rule(topic) for topic in TOPICS if self.dice.random() < 0.6]
            await self.space.respec(name, authorization={"acls": acls})
        return name

    async def time(self) -> str:
        passed = self.dice.choice([30, 300, 800, 1000, 3600, 20 * 86_400, 62 * 86_400])
        self.space.clock.seconds += passed
        return str(passed)

    async def with_secret(self) -> str | None:
        name = self.pick()
        return name if name is not None and self.space.has_secret(name) else None

    async def lose_secret(self) -> str | None:
        if (name := await self.with_secret()) is not None:
            del self.space.kube.objects["secrets", "kafka", name]
        return name

    async def edit_secret(self) -> str | None:
        if (name := await self.with_secret()) is None:
            return None
        key = self.dice.choice(["password", ".next-password", "user.crt", "user.key", "sasl.jaas.config", "ca.crt"])
        await self.space.edit_secret(name, **{key: self.dice.choice([None, "", "short"])})
        return f"{name} {key}"

    async def write_password(self) -> str | None:
        """One of the shape that is taken."""
        if (name := await self.with_secret()) is None:
            return None
        self.written += 1
        made = f"written-by-hand-{self.written:06}-in-a-secret-of-a-test"
        self.space.passwords.made.append(made)
        key = self.dice.choice(["password", ".next-password"])
        await self.space.edit_secret(name, **{key: made})
        return f"{name} {key}"

    async def drop_scram(self) -> str:
        name = self.dice.choice(["app", "cert"])
        self.space.kafka.scram.pop(name, None)
        return name

    async def drop_rule(self) -> str | None:
        ours = sorted(acl for acl in self.space.kafka.acls - self.foreign if acl.permission == "allow")
        if not ours:
            return None
        gone = self.dice.choice(ours)
        self.space.kafka.acls.remove(gone)
        return str(gone)

    async def add_rule(self) -> str:
        acl = self.dice.choice(FOREIGN)
        self.foreign.add(acl)
        self.space.kafka.acls.add(acl)
        return str(acl)

    async def pause(self) -> str | None:
        return await self._mark(paused="true")

    async def resume(self) -> str | None:
        return await self._mark(paused=None)

    async def lose_brokers(self) -> None:
        self.space.kafka.up.clear()

    async def find_brokers(self) -> None:
        self.space.kafka.up |= set(self.space.kafka.ids)

    async def go_away(self) -> None:
        self.away = self.away or self.space.kube.objects.pop(CLUSTER)

    async def come_back(self) -> None:
        if self.away is not None:
            self.space.kube.objects[CLUSTER] = self.away
            self.away = None

    def look(self) -> None:
        """Note down what is about, and raise if somebody gets in who was kept out."""
        now = self.space.clock.now()
        for name in ("app", "cert"):
            self._look_at(name, self.witnesses[name], now)
        missing = self.foreign - self.space.kafka.acls
        assert not missing, f"somebody else's rules are gone: {missing}"
        self._look_for_passwords()

    def _look_at(self, name: str, witness: Witness, now: float) -> None:
        kafka = self.space.kafka
        held = kafka.scram.get(name)
        denied = self.space.acls(name) >= DENIALS
        if held is not None:
            password = held.password.get_secret_value()
            assert password not in witness.spent, f"{name}: a password that was taken away is back"
            witness.passwords[password] = now
        for obj, of in OBJECTS.items():
            secret = self.space.kube.objects.get(("secrets", "kafka", obj))
            text = base64.b64decode(secret["data"].get("user.crt", "")).decode() if secret and of == name else ""
            with contextlib.suppress(Exception):
                witness.certificates.setdefault(text, self.space.pki.read(text)[0].not_after)
        if denied and held is None:
            witness.spent |= witness.passwords
            witness.passwords.clear()
        if (denied and not witness.denied) or self._is_out_undenied(name, witness):
            witness.withdrawn |= witness.certificates
        witness.denied = denied
        if self.lets_unlisted_through or not self.has_looked:
            return
        rights = {acl for acl in self.space.acls(name) if acl.startswith("allow")}
        if denied or not rights:
            return
        for last in witness.spent.values():
            assert now >= last + REAUTHENTICATE_SECONDS, f"{name}: a session that was kept out has rights: {rights}"
        for end in witness.withdrawn.values():
            assert now >= end, f"{name}: a certificate that was kept out has rights: {rights}"

    def _is_out_undenied(self, name: str, witness: Witness) -> bool:
        """Whether one that had credentials is kept out, or has just gone, while nobody can be denied."""
        found = [self.space.kube.objects.get(("kafkausers", "kafka", obj)) for obj in OBJECTS if OBJECTS[obj] == name]
        there = {obj["metadata"]["uid"]: obj for obj in found if obj is not None}
        gone, revoked = witness.objects - there.keys(), False
        for uid, obj in there.items():
            status = obj.get("status", {})
            witness.objects |= {uid} if "credential" in status else set()
            revoked |= any(c["reason"] == "DenialImpossible" for c in status.get("conditions", []))
        witness.objects -= gone
        return self.lets_unlisted_through and (revoked or bool(gone))

    def _look_for_passwords(self) -> None:
        said = self.space.everything_said()
        for password in self.space.passwords.made:
            assert password not in said, "a password is told outside of Secrets"

    def collect(self) -> None:
        """What Kubernetes' garbage collector does: Secrets go after their owner."""
        objects = self.space.kube.objects
        alive = {obj["metadata"]["uid"] for (plural, _, _), obj in objects.items() if plural == "kafkausers"}
        for key in [key for key in objects if key[0] == "secrets"]:
            owners = {one["uid"] for one in objects[key]["metadata"].get("ownerReferences", [])}
            if owners and not owners & alive:
                del objects[key]

    async def settle(self) -> None:
        """Nobody interferes any more: what is declared is so in the end, and when all are revoked, and let in again."""
        await self.come_back()
        await self.find_brokers()
        await self.change_stage(to="Deny")
        for name in OBJECTS:
            if self.space.has_user(name):
                await self.space.annotate(name, paused=None)
        self.collect()
        await self._come_to_rest()
        for revoked in ("leaked", None):
            for name in OBJECTS:
                if self.space.has_user(name):
                    await self.space.annotate(name, revoked=revoked)
            await self._come_to_rest()

    async def _come_to_rest(self) -> None:
        for _ in range(4):
            await self.space.passes(2)
            await self.one_pass()
            self.look()
            self.space.clock.seconds += 1000
        self.space.clock.seconds += 200 * 86_400
        await self.space.passes(4)
        self.look()
        for name in OBJECTS:
            if self.space.has_user(name):
                await self._check(name)
        declared = {OBJECTS[name] for name in OBJECTS if self.space.has_user(name)}
        for of in {"app", "cert"} - declared:
            left = self.space.acls(of) - {str(acl) for acl in self.foreign if acl.principal == f"User:{of}"}
            assert not left, f"{of}: rules are left of a user that is gone: {left}"
            assert of not in self.space.kafka.quotas, f"{of}: quotas are left"
            assert of not in self.space.kafka.scram, f"{of}: a password is left"
        assert set(self.space.remembered()) <= {f"User:{of}" for of in declared}

    async def _check(self, name: str) -> None:
        obj, ready = await self.space.user(name), await self.space.condition(name)
        of = OBJECTS[name]
        revoked = "kfleet.dev/revoked" in obj["metadata"].get("annotations", {})
        assert ready["reason"] in {"PrincipalTaken", "Revoked" if revoked else "AsDeclared"}, f"{name}: {ready}"
        if ready["reason"] == "PrincipalTaken":
            return
        wanted = {f"allow Read on topic {r['resource']['name']}" for r in obj["spec"]["authorization"]["acls"]}
        wanted |= {str(acl) for acl in self.foreign if acl.principal == f"User:{of}"}
        found = self.space.acls(of)
        wanted |= DENIALS if revoked else set()
        assert found == wanted, f"{name}: has {found - wanted}, lacks {wanted - found}"
        if revoked:
            assert not self.space.has_secret(name), f"{name}: is kept out, and has a Secret"
            assert of not in self.space.kafka.scram
        elif obj["spec"]["authentication"]["type"] != "tls":
            assert (await self.space.secret(name))["password"] == self.space.password_in_kafka(of)


async def walk(seed: int, events: int = 60) -> Walk:
    """Raises AssertionError with what happened before somebody got in, or something was lost."""
    found, dice = await new_walk(), random.Random(seed)
    try:
        for _ in range(events):
            await found.step(dice.randrange(2**32))
        await found.settle()
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), f"seed {seed}:", *found.told])) from error
    return found


async def new_walk() -> Walk:
    space = await user_space()
    await put_authority(space, space.pki.make_authority("cell clients CA", 86_400 * 36_500))
    return Walk(space)
