"""An API server on fakes that refuses Secrets in namespaces which nobody enrolled, in its own words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.fake_kube import FakeKube

from controlplane.ports import ForbiddenError, Resource

VERBS = ("get", "create", "patch", "apply", "delete")
Call = Callable[..., Awaitable[Any]]


@dataclass
class Gate:
    """`closed` are the namespaces that are not enrolled; `refused` is what was asked in them, as `verb name`."""

    closed: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def before(self, verb: str, real: Call) -> Call:
        async def call(kube: FakeKube, resource: Resource, *arguments: Any, **options: Any) -> Any:
            if resource.plural == "secrets":
                self._judge(verb, *arguments)
            return await real(kube, resource, *arguments, **options)

        return call

    def _judge(self, verb: str, first: str | dict[str, Any], namespace: str | None = None, *_: Any) -> None:
        name, where = (first, namespace) if isinstance(first, str) else _named(first, namespace)
        if where in self.closed:
            self.refused.append(f"{verb} {name}")
            words = f'secrets "{name}" is forbidden: User "kfleet" cannot {verb} resource "secrets" in "{where}"'
            raise ForbiddenError(403, "Forbidden", words)


def _named(body: dict[str, Any], namespace: str | None) -> tuple[str, str]:
    meta = body["metadata"]
    return meta["name"], namespace or meta["namespace"]


def closed_gate(monkeypatch: pytest.MonkeyPatch, *namespaces: str) -> Gate:
    gate = Gate(set(namespaces))
    for verb in VERBS:
        monkeypatch.setattr(FakeKube, verb, gate.before(verb, getattr(FakeKube, verb)))
    return gate
