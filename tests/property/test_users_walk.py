"""Users through random events: nobody gets in who was kept out, nothing is lost, and all is as declared in the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.users import UserSpace
from support.users_walk import walk

from controlplane.domain.users import departed, planner
from controlplane.domain.users.acls import plan_acls
from controlplane.services.users import carry_out, entry, service
from controlplane.services.users import departed as remembered


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_nobody_gets_in_who_was_kept_out(seed: int) -> None:
    found = await walk(seed)
    happened = {line.split()[0] for line in found.told}
    assert {"one_pass", "dying_pass", "declare", "time"} <= happened


def lift_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "_still_about", lambda *_, **__: None)


def leave_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(*_: Any) -> None: ...

    monkeypatch.setattr(carry_out.Execution, "_forget_secret", keep)


def take_passwords_again(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_secrets(monkeypatch)
    monkeypatch.setattr(entry.Entry, "is_spent", lambda *_: False)
    monkeypatch.setattr(UserSpace, "has_secret", lambda *_: False)


def take_what_is_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "plan_acls", lambda *given, **_: plan_acls(*given, exclusive=True))


def forget_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(*given: Any, **more: Any) -> Any:
        return {
            key: replace(one, acls=replace(one.acls, owned=frozenset()))
            for key, one in planner.plan_users(*given, **more).items()
        }

    monkeypatch.setattr(service, "plan_users", careless)


def announce_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry.Entry, "announced", None)


def owe_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(*given: Any, **more: Any) -> Any:
        found = departed.plan_departed(*given, **more)
        return replace(found, records={of: replace(one, owed=False) for of, one in found.records.items()})

    monkeypatch.setattr(remembered, "plan_departed", forgetful)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lift_at_once, "has rights"),
        (leave_secrets, "is kept out, and has a Secret"),
        (take_passwords_again, "is back"),
        (take_what_is_foreign, "somebody else's rules are gone"),
        (forget_what_was_made, "allow Read on topic"),
        (announce_nothing, "CredentialExists"),
        (owe_nothing, "a certificate that was kept out has rights"),
    ],
)
async def test_the_walk_sees_it(spoil: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative controls: one of these walks ends with it."""
    spoil(monkeypatch)
    for seed in range(20):
        try:
            await walk(seed)
        except AssertionError as error:
            if says in str(error).partition("seed ")[0]:
                return
    pytest.fail("a walk among people who get in has seen nothing")
