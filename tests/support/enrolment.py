"""Namespaces that the operator may have Secrets in, enrolled by the very command that conditions name."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from controlplane.api.rbac import enrolling


def enrol(kubectl: Callable[..., str], *namespaces: str) -> None:
    for namespace in namespaces:
        program, *arguments = shlex.split(enrolling(namespace))
        assert program == "kubectl"
        kubectl(*arguments)


def make_namespaces(kubectl: Callable[..., str], *namespaces: str) -> None:
    """Make them and enrol them."""
    for namespace in namespaces:
        kubectl("create", "namespace", namespace)
    enrol(kubectl, *namespaces)
