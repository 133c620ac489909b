"""People of an end-to-end test: ServiceAccounts with real RBAC, who use the CLI."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cell import Cell
from support.operator import write_kubeconfig
from support.sandbox import KFLEET, Sandbox

from controlplane.adapters.kubernetes.config import from_kubeconfig


@dataclass
class Person:
    """Somebody with a kubeconfig of their own."""

    user: str
    kubeconfig: Path
    ledger: str

    def kfleet(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")}
        return subprocess.run(
            [KFLEET, *arguments],
            env=environment | {"KUBECONFIG": str(self.kubeconfig), "KFLEET_LEDGER_URL": self.ledger, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.kfleet(*arguments, "-o", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


def person(cell: Cell, sandbox: Sandbox, ledger: str, directory: Path, name: str, *roles: str) -> Person:
    """A ServiceAccount of that name with these ClusterRoles in the cell's namespace."""
    cell.kubectl("create", "serviceaccount", name)
    for role in roles:
        account = f"{cell.namespace}:{name}"
        cell.kubectl("create", "rolebinding", f"{name}-{role}", f"--clusterrole={role}", f"--serviceaccount={account}")
    admin = from_kubeconfig(sandbox.kubeconfig)
    kubeconfig = directory / f"{name}.yaml"
    token = cell.kubectl("create", "token", name, "--duration=1h").strip()
    write_kubeconfig(kubeconfig, server=admin.server, ca_pem=admin.ca_pem or "", token=token)
    return Person(f"system:serviceaccount:{cell.namespace}:{name}", kubeconfig, ledger)
