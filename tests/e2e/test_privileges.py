"""Least privilege, from the API servers' audit logs of every end-to-end test before this one.

Run by itself it fails: nothing was done yet. `make e2e` runs all of them, this one last, on one sandbox.
"""

from __future__ import annotations

import pytest
from support.audit import OPERATOR_USER, unused, uses
from support.sandbox import Sandbox

from controlplane.api import rbac


@pytest.mark.usefixtures("alone")
def test_the_operator_uses_every_verb_it_is_granted(sandbox: Sandbox) -> None:
    """The control is a grant that nothing uses."""
    used = uses(sandbox.paths.audit_log, OPERATOR_USER)
    assert unused(rbac.OPERATOR, used) == set()
    planted = rbac.Grant("", "secrets", ("list",), "planted")
    assert unused((*rbac.OPERATOR, planted), used) == {("", "secrets", "list")}
