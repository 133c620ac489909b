"""Least privilege, from the API servers' audit logs of every end-to-end test before this one.

Run by itself it fails: nothing was done yet. `make e2e` runs all of them, this one last, on one sandbox.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.audit import OPERATOR_USER, enrolled, unused, uses, with_secrets
from support.sandbox import Sandbox

from controlplane.api import rbac


@pytest.mark.usefixtures("alone")
def test_the_operator_uses_every_verb_it_is_granted(sandbox: Sandbox) -> None:
    """The control is a grant that nothing uses."""
    used = uses(sandbox.paths.audit_log, OPERATOR_USER)
    granted = (*rbac.OPERATOR, *rbac.SECRETS)
    assert unused(granted, used) == set()
    planted = rbac.Grant("", "secrets", ("list",), "planted")
    assert unused((*granted, planted), used) == {("", "secrets", "list")}


@pytest.mark.usefixtures("alone")
def test_it_had_secrets_only_where_somebody_enrolled_the_namespace(sandbox: Sandbox, tmp_path: Path) -> None:
    """The control is one request in another namespace."""
    log = sandbox.paths.audit_log
    assert with_secrets(log, OPERATOR_USER)
    assert with_secrets(log, OPERATOR_USER) <= enrolled(log)
    planted = {
        "auditID": "planted",
        "stage": "ResponseComplete",
        "requestReceivedTimestamp": "",
        "user": {"username": OPERATOR_USER},
        "verb": "get",
        "objectRef": {"resource": "secrets", "namespace": "nobodys", "name": "planted"},
        "responseStatus": {"code": 404},
    }
    control = tmp_path / log.name
    control.write_text(json.dumps(planted) + "\n")
    assert with_secrets(control, OPERATOR_USER) - enrolled(control) == {"nobodys"}
