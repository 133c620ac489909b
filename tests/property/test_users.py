"""Plans for users: they reach what was declared, from anywhere, and then there is nothing left to do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from controlplane.domain.check import Check
from controlplane.domain.users import acls, quotas
from controlplane.domain.users.credentials import Step, Stored, iterations, next_step
from controlplane.domain.users.departed import Departed, plan_departed
from controlplane.domain.users.planner import AccessObservation, DesiredUser, UserPlan, plan_users, winners
from controlplane.domain.users.quotas import Layer
from controlplane.domain.users.values import Acl

USERS = ("ann", "bob", "eve")
PRINCIPALS = [f"User:{user}" for user in USERS]
KEYS = (quotas.PRODUCER, quotas.CONSUMER, quotas.REQUEST)

acl_of = st.builds(
    Acl,
    principal=st.sampled_from([f"User:{user}" for user in USERS]),
    resource=st.sampled_from(["topic", "group"]),
    name=st.sampled_from(["a", "b", "*"]),
    pattern=st.sampled_from(["literal", "prefixed"]),
    operation=st.sampled_from(["Read", "Write", "All"]),
    permission=st.sampled_from(["allow", "deny"]),
    host=st.sampled_from(["*", "10.0.0.1"]),
)
limits = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 4).map(float))


def owned(user: str, acl: Acl) -> Acl:
    return replace(acl, principal=f"User:{user}")


@st.composite
def desired_users(draw: st.DrawFn) -> list[DesiredUser]:
    found = []
    for number in range(draw(st.integers(0, 4))):
        user = draw(st.sampled_from(USERS))
        own = st.frozensets(acl_of.map(partial(owned, user)), max_size=4)
        found.append(
            DesiredUser(
                key=f"object-{number}",
                user=user,
                principal=f"User:{user}",
                tls=draw(st.booleans()),
                created_at=float(draw(st.integers(0, 2))),
                paused=draw(st.booleans()),
                revoked=draw(st.booleans()),
                deleting=draw(st.booleans()),
                acls=draw(own),
                layers=tuple(Layer(str(n), draw(limits)) for n in range(draw(st.integers(0, 2)))),
                exclusive=draw(st.booleans()),
                owned_acls=draw(own),
                owned_quotas=draw(limits),
                certified=draw(st.booleans()),
                not_after=draw(st.none() | st.just(50.0) | st.just(150.0)),
                anothers=draw(st.booleans()),
                let_in=draw(st.booleans()),
                pending=draw(st.booleans()),
                barred=draw(st.none() | st.just(Check("ForeignPrefix", ok=False))),
                within=draw(st.none() | st.just("a")),
            )
        )
    return found


observations = st.builds(
    AccessObservation,
    acls=st.none() | st.frozensets(acl_of, max_size=8),
    scram=st.dictionaries(st.sampled_from(USERS), st.integers(4096, 16384)),
    quotas=st.dictionaries(st.sampled_from(USERS), limits),
)


def carried_out(
    users: list[DesiredUser], plans: dict[str, UserPlan], observed: AccessObservation
) -> tuple[list[DesiredUser], AccessObservation]:
    """The world in which every call of the plans was made, and what is owned was recorded before."""
    found = set(observed.acls or ())
    scram, values = dict(observed.scram), {user: dict(of) for user, of in observed.quotas.items()}
    after = []
    for user in users:
        plan = plans.get(user.key)
        if plan is None:
            after.append(user)
            continue
        found = (found | plan.acls.create) - plan.acls.delete
        if plan.forget:
            del scram[user.user]
        merged = {**values.get(user.user, {}), **plan.quotas.changes}
        values[user.user] = {key: value for key, value in merged.items() if value is not None}
        if plan.forget and not user.out:  # noted down before: whoever is logged in may be so from then on
            user = replace(user, not_after=200.0)  # noqa: PLW2901
        recorded = not plan.is_empty and plan.may_log_in
        after.append(replace(user, owned_acls=plan.acls.owned, owned_quotas=plan.quotas.owned) if recorded else user)
    acls_after = None if observed.acls is None else frozenset(found)
    return after, AccessObservation(acls_after, scram, values)


@given(desired_users(), observations, st.booleans())
def test_the_plan_after_a_plan_is_empty(
    users: list[DesiredUser],
    observed: AccessObservation,
    unlisted: bool,  # noqa: FBT001
) -> None:
    plans = plan_users(users, observed, 100.0, unlisted=unlisted)
    after, world = carried_out(users, plans, observed)
    again = plan_users(after, world, 100.0, unlisted=unlisted)
    assert all(plan.is_empty for plan in again.values()), again
    assert not any(plan.acls.drifted or plan.quotas.drifted for plan in again.values())


@given(desired_users(), observations)
def test_nobody_elses_is_touched(users: list[DesiredUser], observed: AccessObservation) -> None:
    plans = plan_users(users, observed, 100.0)
    _, world = carried_out(users, plans, observed)
    declared = {user.principal for user in users}
    assert {acl.principal for acl in (observed.acls or frozenset()) ^ (world.acls or frozenset())} <= declared
    for user in users:
        plan = plans.get(user.key, UserPlan())
        if not user.exclusive or user.deleting:
            ours = user.owned_acls | acls.revocation(user.principal)
            assert plan.acls.delete <= ours, "a foreign rule is removed only where the object says so"
            assert not plan.acls.foreign & (plan.acls.delete | plan.acls.create)


@given(desired_users(), observations)
def test_who_is_out_is_denied_and_has_no_password(users: list[DesiredUser], observed: AccessObservation) -> None:
    _, world = carried_out(users, plan_users(users, observed, 100.0), observed)
    for user in winners(users).values():
        if user.out and not user.anothers:
            assert world.acls is None or acls.revocation(user.principal) <= world.acls
            assert user.tls or user.user not in world.scram
            assert not user.deleting or not quotas_left(user, observed, world)


@given(desired_users(), observations)
def test_anothers_password_and_what_they_may_do_stay(users: list[DesiredUser], observed: AccessObservation) -> None:
    _, world = carried_out(users, plan_users(users, observed, 100.0), observed)
    for user in winners(users).values():
        if user.anothers:
            assert world.scram.get(user.user) == observed.scram.get(user.user)
            before, after = (of_principal(one, user.principal) for one in (observed, world))
            assert before - user.owned_acls <= after <= before
            values, left = (one.quotas.get(user.user, {}) for one in (observed, world))
            assert values.items() >= left.items()
            assert values.keys() - left.keys() <= user.owned_quotas.keys()


def of_principal(observed: AccessObservation, principal: str) -> frozenset[Acl]:
    return frozenset(acl for acl in observed.acls or () if acl.principal == principal)


@given(desired_users(), observations)
def test_nobody_is_denied_where_that_would_cut_off_others(
    users: list[DesiredUser], observed: AccessObservation
) -> None:
    plans = plan_users(users, observed, 100.0, unlisted=True)
    _, world = carried_out(users, plans, observed)
    for user in winners(users).values():
        plan = plans.get(user.key, UserPlan())
        assert not plan.acls.create & (acls.revocation(user.principal) - user.acls)
        if user.key in plans and not user.anothers:
            left = of_principal(world, user.principal) & acls.revocation(user.principal)
            assert left <= user.acls
            assert not user.out or user.tls or user.user not in world.scram


@given(desired_users(), observations)
def test_who_is_barred_gets_no_rule_and_loses_none(users: list[DesiredUser], observed: AccessObservation) -> None:
    plans = plan_users(users, observed, 100.0)
    _, world = carried_out(users, plans, observed)
    for user in winners(users).values():
        if user.barred and not user.out and not user.anothers:
            assert of_principal(world, user.principal) == of_principal(observed, user.principal)
            assert user.paused or plans[user.key].may_log_in == user.let_in


@given(desired_users(), observations)
def test_who_is_confined_is_let_in_to_nothing_beyond(users: list[DesiredUser], observed: AccessObservation) -> None:
    """But for its own declared rules, which are held against the prefix before."""
    plans = plan_users(users, observed, 100.0)
    for user in winners(users).values():
        plan = plans.get(user.key)
        if user.within and not user.let_in and not user.out and plan is not None and plan.may_log_in:
            beyond = {
                acl
                for acl in of_principal(observed, user.principal) - user.owned_acls
                if acl.permission == "allow" and not acl.name.startswith(user.within)
            }
            assert not beyond


def quotas_left(user: DesiredUser, before: AccessObservation, after: AccessObservation) -> set[str]:
    """Keys that were ours and are still there."""
    return set(user.owned_quotas) & set(before.quotas.get(user.user, {})) & set(after.quotas.get(user.user, {}))


@given(st.lists(st.builds(Layer, st.text(max_size=3), limits), max_size=4))
def test_the_least_of_all_layers_counts(layers: list[Layer]) -> None:
    found = quotas.effective(layers)
    for key in KEYS:
        said = [layer.values[key] for layer in layers if key in layer.values]
        assert found.get(key) == (min(said) if said else None)


@given(st.frozensets(acl_of.map(lambda acl: replace(acl, principal="User:ann")), max_size=12))
def test_a_record_of_rules_reads_back_as_it_was(rules: frozenset[Acl]) -> None:
    assert acls.from_texts("User:ann", acls.to_texts(rules)) == rules


@given(st.dictionaries(st.sampled_from(KEYS), st.floats(0.001, 1e18)))
def test_a_record_of_quotas_reads_back_as_it_was(values: dict[str, float]) -> None:
    assert quotas.from_texts(quotas.to_texts(values)) == values


@given(
    told=st.sampled_from(["nothing", "password", "next", "another"]),
    password=st.sampled_from(["", "a" * 40, "short"]),
    following=st.sampled_from(["", "b" * 40, "a" * 40]),
    due=st.sampled_from(["", "asked", "aged"]),
)
def test_from_anywhere_a_password_is_agreed_on(told: str, password: str, following: str, due: str) -> None:
    """Secret and Kafka as two cells, of which each step writes one; nothing else is remembered, so that an operator
    which dies between any two steps goes on like one that does not. Kafka never has a password that the Secret has
    not, but for one that it had from elsewhere at first."""
    stored = Stored(
        SecretStr(password) if password else None, SecretStr(following) if following else None, issued_at=0.0
    )
    kafka = foreign = {"nothing": None, "password": password or None, "next": following or None, "another": "z" * 40}[
        told
    ]
    rotation, fresh = ("1" if due == "asked" else ""), (SecretStr(f"{number:040}") for number in range(9))
    for _ in range(8):
        step = next_step(
            "ann",
            stored,
            None if kafka is None else iterations("ann", SecretStr(kafka)),
            now=10.0,
            rotate_after=5.0 if due == "aged" and stored.issued_at == 0.0 else None,
            rotation=rotation,
        )
        match step:
            case Step.NOTHING:
                break
            case Step.CREATE:
                stored = Stored(next(fresh), None, 10.0, rotation)
            case Step.STAGE:
                stored = replace(stored, next=next(fresh), rotation=rotation)
            case Step.PROMOTE:
                stored = Stored(stored.next, None, 10.0, stored.rotation)
            case Step.TELL:
                stored = replace(stored, next=None)
                kafka = text(stored.password)
            case Step.TELL_NEXT:
                kafka = text(stored.next)
        assert kafka in {None, text(stored.password), text(stored.next), foreign}
    else:
        raise AssertionError("it never ends")
    assert kafka == text(stored.password)
    assert not due or stored.issued_at == 10.0
    assert stored.rotation == rotation


def text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


records_of = st.dictionaries(
    st.sampled_from(PRINCIPALS),
    st.builds(
        Departed,
        until=st.none() | st.just(50.0) | st.just(150.0),
        denied=st.booleans(),
        certificate=st.booleans(),
        pending=st.booleans(),
        acls=st.frozensets(acl_of, max_size=4),
        quotas=limits,
    ),
)


@st.composite
def departed_users(draw: st.DrawFn) -> dict[str, Departed]:
    """What they left is of their own principal."""
    return {
        principal: replace(record, acls=frozenset(replace(acl, principal=principal) for acl in record.acls))
        for principal, record in draw(records_of).items()
    }


@st.composite
def heirs_of(draw: st.DrawFn) -> dict[str, DesiredUser | None]:
    found: dict[str, DesiredUser | None] = dict.fromkeys(draw(st.frozensets(st.sampled_from(PRINCIPALS))))
    return found | winners(draw(desired_users()))


@given(departed_users(), heirs_of(), observations, st.booleans())
def test_what_is_to_be_done_for_who_is_gone_ends(
    records: dict[str, Departed],
    heirs: dict[str, DesiredUser | None],
    observed: AccessObservation,
    unlisted: bool,  # noqa: FBT001
) -> None:
    """Who left unseen is kept out first, which takes a pass of its own. Nobody without a record is touched, and only
    who left unseen loses a password; of rules and quotas only what it left goes, and nothing that an object wants."""
    unseen = {principal.removeprefix("User:") for principal, record in records.items() if record.pending}
    was, began = records, observed
    for _ in range(2):
        plan = plan_departed(records, heirs, observed, 100.0, unlisted=unlisted)
        assert plan.forget <= unseen
        assert {acl.principal for acl in plan.create | plan.delete} <= records.keys()
        found = None if observed.acls is None else (observed.acls | plan.create) - plan.delete
        scram = {user: told for user, told in observed.scram.items() if user not in plan.forget}
        values = {
            user: {key: value for key, value in of.items() if key not in plan.quotas.get(user, {})}
            for user, of in observed.quotas.items()
        }
        records, observed = dict(plan.records), AccessObservation(found, scram, values)
    for principal, record in was.items():
        user, heir, denials = principal.removeprefix("User:"), heirs.get(principal), acls.revocation(principal)
        before, after = (of_principal(one, principal) - denials for one in (began, observed))
        theirs = frozenset[Acl]() if heir is None else heir.owned_acls | (frozenset() if heir.deleting else heir.acls)
        is_left_alone = principal in heirs and heir is None
        assert before - after == (set() if is_left_alone else (before & record.acls) - theirs)
        lost = began.quotas.get(user, {}).keys() - observed.quotas.get(user, {}).keys()
        limits = began.quotas.get(user, {})
        assert lost <= {key for key, value in record.quotas.items() if limits.get(key) == value}
        assert heir is None or not lost & heir.owned_quotas.keys()
        if record.pending and principal not in heirs and observed.acls is not None and not unlisted:
            assert denials <= observed.acls, "whatever is taken away with it"
    again = plan_departed(records, heirs, observed, 100.0, unlisted=unlisted)
    assert not again.create | again.delete
    assert (again.forget, again.quotas, again.records) == (frozenset(), {}, records)
    for principal in unseen:
        assert principal not in observed.scram
        assert f"User:{principal}" not in records or not records[f"User:{principal}"].pending
