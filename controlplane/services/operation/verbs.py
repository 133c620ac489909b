"""Verbs: what a step of a frozen operation does, and how it is seen whether it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from controlplane.api.operation import Operation
from controlplane.domain.check import Check
from controlplane.domain.operation.frozen import FrozenSteps, Place, Situation, advance, doing
from controlplane.domain.operation.permit import FREE
from controlplane.domain.operation.verb import Doing, Done, Failed, Look, Pending, Traits
from controlplane.ports import KafkaError, KubeError

LOOK_AHEAD = 8
"""Steps looked at in one pass while each is seen done; what they write fits into the journal's margin."""


class Verb(Protocol):
    """One thing that can be done, for every step that names it. Errors of ports (KubeError, KafkaError) pass."""

    @property
    def traits(self) -> Traits: ...

    async def observe(self, doing: Doing) -> Look:
        """Reads only. Once `act` has returned, never Pending unless nothing of it has happened.

        For an undoing verb, Done also when there is nothing to undo, or what it would be undone on is gone. A Failed
        attempt that has no intent yet is final: it was not even begun.
        """
        ...

    async def act(self, doing: Doing) -> None:
        """Begin it and return; what takes long goes on by itself and is observed.

        May be carried out again after a kill: it is idempotent, or made with the intent's uid and resourceVersion as
        preconditions.
        """
        ...


Verbs = Mapping[str, Verb]


def traits_of(verbs: Verbs) -> dict[str, Traits]:
    return {name: verb.traits for name, verb in verbs.items()}


async def look_ahead(
    operation: Operation, plan: FrozenSteps, verbs: Verbs, *, now: float, abandon: bool = False
) -> dict[Place, Look]:
    """What the verbs see, from where the operation stands to the first step that is not done.

    Errors of ports pass through, except to `abandon`: what cannot even be looked at any more has failed.
    """
    looks: dict[Place, Look] = {}
    traits = traits_of(verbs)
    for _ in range(LOOK_AHEAD):
        here = doing(operation, plan)
        if here is None:
            break
        look = looks[here.place] = await _look(here, verbs, abandon=abandon)
        if not isinstance(look, Done):
            break
        operation = advance(operation, Situation(plan, {here.place: look}, FREE, now, traits)).operation
    return looks


async def _look(here: Doing, verbs: Verbs, *, abandon: bool) -> Look:
    verb = verbs.get(here.step.verb)
    if verb is None:
        return Pending((_unknown(here),))
    try:
        return await verb.observe(here)
    except (KubeError, KafkaError) as error:
        if not abandon:
            raise
        return Failed(Check("StepFailed", ok=False, evidence=f"{here.step.verb} {here.step.target}: {error.message}"))


def _unknown(here: Doing) -> Check:
    return Check(
        "UnknownVerb",
        ok=False,
        evidence=f"This version of kfleet does not know {here.step.verb}.",
        remedy="Update the operator; the operation goes on by itself.",
    )
