"""Enrolment where it is decided: a real API server, the operator's own account, and people with Kubernetes' own roles.

No broker is started here; tests/e2e/test_users.py goes on from there to clients that log in. In order.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.accounts import person
from support.audit import OPERATOR_USER, enrolled, with_secrets
from support.cell import Cell, combined_cluster, make_cell
from support.enrolment import make_namespaces
from support.sandbox import Sandbox, wait

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.api.names import SECRETS_ROLE
from controlplane.api.rbac import SECRETS, enrolling
from controlplane.domain.access.enrolment import NOT_ENROLLED
from controlplane.ports import ForbiddenError, NotFoundError
from controlplane.services.access.secrets import SECRETS as RESOURCE

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]
CLOSED, OPEN = "enrolment-closed", "enrolment-open"
ACCOUNT = "--as=system:serviceaccount:kfleet:kfleet-operator"
SECURE: dict[str, Any] = {
    "security": {"nodes": "MutualTls"},
    "authorization": {"type": "Standard"},
    "listeners": [{"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}}],
}


@pytest.fixture(scope="module")
def cell(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with make_cell(sandbox, "enrolment", tmp_path_factory.mktemp("enrolment"), enrolled=False) as made:
        yield made


@pytest.fixture
def namespaces(sandbox: Sandbox) -> Iterator[None]:
    """Two with a Secret each, one of them enrolled."""
    sandbox.kubectl("create", "namespace", CLOSED)
    make_namespaces(sandbox.kubectl, OPEN)
    for namespace in (CLOSED, OPEN):
        sandbox.kubectl("create", "secret", "generic", "planted", "--from-literal=key=value", "-n", namespace)
    wait("the binding to be in force", lambda: allowed(sandbox, OPEN))
    yield
    sandbox.kubectl("delete", "namespace", CLOSED, OPEN, "--wait=false")


def allowed(sandbox: Sandbox, namespace: str) -> bool:
    return sandbox.kubectl("auth", "can-i", "get", "secrets", "-n", namespace, ACCOUNT, check=False).strip() == "yes"


@pytest.mark.usefixtures("namespaces")
async def test_the_operator_s_account_has_secrets_where_it_was_let_and_nowhere_else(cell: Cell) -> None:
    async with KubeClient(from_kubeconfig(cell.operator.kubeconfig), timeout=60.0) as kube:
        mine = {"metadata": {"name": "mine"}}
        for call in (
            kube.get(RESOURCE, "planted", CLOSED),
            kube.get(RESOURCE, "not-there", CLOSED),
            kube.create(RESOURCE, mine, CLOSED),
            kube.patch(RESOURCE, "planted", CLOSED, {"data": {}}),
            kube.apply(RESOURCE, {"metadata": {"name": "mine", "namespace": CLOSED}}),
            kube.delete(RESOURCE, "planted", CLOSED),
            kube.list(RESOURCE, CLOSED),
            kube.list(RESOURCE, OPEN),
            kube.list(RESOURCE),
        ):
            with pytest.raises(ForbiddenError):
                await call
        assert (await kube.get(RESOURCE, "planted", OPEN))["data"], "the control"
        with pytest.raises(NotFoundError):
            await kube.get(RESOURCE, "not-there", OPEN)
        await kube.create(RESOURCE, mine, OPEN)
        await kube.patch(RESOURCE, "mine", OPEN, {"data": {"a": "Yg=="}})
        await kube.delete(RESOURCE, "mine", OPEN)


def test_a_cluster_whose_secrets_are_refused_is_not_begun(cell: Cell) -> None:
    cell.apply(combined_cluster(**SECURE))
    cell.wait("the refusal to be told", lambda: cell.condition("Ready")["reason"] == NOT_ENROLLED, 60)
    message = cell.condition("Ready")["message"]
    assert f'cannot get resource "secrets" in API group "" in the namespace "{cell.namespace}"' in message
    assert message.endswith(enrolling(cell.namespace))
    names = cell.kubectl("get", "pods,pvc,services,secrets,poddisruptionbudgets", "-o", "name").split()
    assert names == [], "nothing is half made"


def test_the_namespaces_own_admin_enrols_it_and_nobody_with_less(cell: Cell, sandbox: Sandbox, tmp_path: Path) -> None:
    binds = "--verb=create", "--resource=rolebindings.rbac.authorization.k8s.io"
    cell.kubectl("create", "clusterrole", "enrolment-binder", *binds)
    try:
        for name, role, why in (
            ("editor", "edit", 'cannot create resource "rolebindings"'),
            ("binder", "enrolment-binder", "attempting to grant RBAC permissions not currently held"),
            ("owner", "admin", ""),
        ):
            who = person(cell, sandbox, "", tmp_path, name, role)
            wait("the role to be in force", partial(_may, cell, who.kubeconfig, name))
            done = enrol_as(cell, who.kubeconfig)
            assert (done.returncode == 0, why in done.stderr) == (name == "owner", True), done.stderr
    finally:
        cell.kubectl("delete", "clusterrole", "enrolment-binder")


def _may(cell: Cell, kubeconfig: Path, name: str) -> bool:
    """Once it has what its role gives it: the right to edit Secrets, or that to make RoleBindings."""
    resource = "secrets" if name == "editor" else "rolebindings"
    done = kubectl(cell, kubeconfig, "auth", "can-i", "create", resource, "-n", cell.namespace)
    return done.stdout.strip() == "yes"


def enrol_as(cell: Cell, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    """The command of the condition, as it is written there."""
    message = cell.condition("Ready")["message"]
    _, *arguments = shlex.split(message[message.index("kubectl ") :])
    return kubectl(cell, kubeconfig, *arguments)


def kubectl(cell: Cell, kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(cell.kubectl_binary), "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_then_the_cluster_goes_on_by_itself(cell: Cell) -> None:
    """Where the one before is not run nobody has enrolled the namespace, and this one fails."""
    cell.wait("the authority", lambda: "secret/cell-cluster-ca" in cell.kubectl("get", "secrets", "-o", "name"), 60)
    cell.wait("the refusal to be over", lambda: cell.condition("Ready")["reason"] != NOT_ENROLLED, 60)
    cell.kubectl("delete", "kafkaclusters.kfleet.dev", "cell")


def test_the_audit_log_tells_the_same(cell: Cell, sandbox: Sandbox) -> None:
    log = sandbox.paths.audit_log
    assert {OPEN, cell.namespace} <= with_secrets(log, OPERATOR_USER) & enrolled(log)
    assert CLOSED not in with_secrets(log, OPERATOR_USER) | enrolled(log), "what is forbidden is no use"


def test_what_the_role_grants_is_what_the_table_says(sandbox: Sandbox) -> None:
    (rule,) = json.loads(sandbox.kubectl("get", "clusterrole", SECRETS_ROLE, "-o", "json"))["rules"]
    (grant,) = SECRETS
    assert (rule["resources"], sorted(rule["verbs"])) == ([grant.resource], sorted(grant.verbs))
