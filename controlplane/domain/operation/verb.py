"""What a verb of a frozen operation is, and what it may say of the world. Pure.

A verb is observed before and after it acts. What it says must come from the world alone: after a kill nobody knows
whether the action was carried out, and the observation decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.api.operation import OperationIntent, OperationStep, Risk
from controlplane.domain.check import Check


@dataclass(frozen=True, slots=True)
class Pending:
    """Nothing of it has happened. `checks` that failed keep it from being begun.

    `uid` and `resource_version` are the target's as it is now: the intent keeps them, and the action is to be made with
    them as preconditions where doing it twice would do harm.
    """

    checks: tuple[Check, ...] = ()
    uid: str = ""
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """It was begun and goes on by itself."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What the step is to bring about is so, whoever did it."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """This attempt did not succeed and will not by itself. `again`: another attempt may."""

    check: Check
    again: bool = True


Look = Pending | UnderWay | Done | Failed


@dataclass(frozen=True, slots=True)
class Traits:
    """What is fixed about a verb. `inverse` is the verb that undoes it, with the same target and parameters.

    A verb that leaves something behind has an inverse or is not Safe. `attempts` counts those before the operation
    turns back; undoing is attempted for as long as it takes. An `urgent` verb finishes what an earlier step began
    (takes a throttle away, promotes what was fenced for it): neither a pause nor a full journal nor a gate holds it up.
    """

    risk: Risk = "Safe"
    inverse: str = ""
    attempts: int = 1
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Doing:
    """One attempt at one step. `key` is unique in the object that asked: a name for what the attempt leaves behind."""

    operation: str
    step: OperationStep
    attempt: int = 1
    intent: OperationIntent | None = None

    @property
    def place(self) -> tuple[int, int]:
        return self.step.id, self.attempt

    @property
    def key(self) -> str:
        return f"{self.operation}-{self.step.id}-{self.attempt}"


def step_of(number: int, verb: str, traits: Traits, *, target: str, why: str, **parameters: str) -> OperationStep:
    """A plan's step, with the verb's risk and inverse."""
    return OperationStep(
        id=number,
        verb=verb,
        target=target,
        why=why,
        risk=traits.risk,
        inverse=traits.inverse,
        parameters=parameters,
    )


def contradictions(steps: tuple[OperationStep, ...], verbs: Mapping[str, Traits]) -> tuple[str, ...]:
    """Where a plan says other than its verbs do: such a plan must not be proposed to anybody."""
    wrong = []
    for step in steps:
        traits = verbs.get(step.verb)
        if traits is None:
            wrong.append(f"step {step.id}: no verb {step.verb}")
        elif (step.risk, step.inverse) != (traits.risk, traits.inverse):
            wrong.append(f"step {step.id}: {step.verb} is {traits.risk} and undone by {traits.inverse or 'nothing'}")
        elif step.inverse and step.inverse not in verbs:
            wrong.append(f"step {step.id}: no verb {step.inverse} to undo {step.verb}")
    return tuple(wrong)
