"""What the audit log of an API server is asked, on lines of it: the tests that ask stand on these answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.audit import OPERATOR_USER, deleters, keep, pods_done, unused, uses

from controlplane.api.rbac import Grant


def line(number: int, verb: str, resource: str = "pods", code: int = 200, **ref: Any) -> str:
    """As kube-apiserver writes it; a later number came in later."""
    event = {
        "auditID": str(number),
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": ref.pop("user", OPERATOR_USER)},
        "userAgent": ref.pop("agent", "one"),
        "objectRef": {"resource": resource, "namespace": "here", "name": "cell-0"} | ref,
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": f"2026-11-30T12:00:{number:02}.000000Z",
    }
    return json.dumps(event, separators=(",", ":")) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_each_deletion_counts_once_wherever_its_line_is(log: Path) -> None:
    """A file that is put aside while it is read is read twice."""
    log.with_name("audit-2026-11-30T12-00-00.000.jsonl").write_text(line(1, "delete") + line(2, "delete", code=404))
    log.write_text(line(1, "delete") + line(3, "delete", name="cell-1", agent="other") + line(4, "delete")[:-1])
    assert pods_done(log, OPERATOR_USER, "delete", "here") == Counter({"cell-0": 1, "cell-1": 1})
    assert [agent for _, agent in deleters(log, OPERATOR_USER, "here")] == ["one", "one", "other"]
    assert pods_done(log, OPERATOR_USER, "create", "here") == Counter()


@pytest.mark.parametrize(
    "other",
    [
        line(1, "delete", user="somebody"),
        line(1, "delete", namespace="there"),
        line(1, "delete", resource="secrets"),
        line(1, "delete", code=403),
        line(1, "get", name="delete"),
    ],
)
def test_what_others_did_or_was_something_else_is_no_deletion(log: Path, other: str) -> None:
    log.write_text(other)
    assert pods_done(log, OPERATOR_USER, "delete", "here") == Counter()


def test_what_was_never_used_is_found_over_all_logs(log: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other" / "audit.jsonl"
    elsewhere.parent.mkdir()
    elsewhere.write_text(line(1, "get", "persistentvolumes"))
    log.write_text(line(1, "patch", "services", code=201) + line(2, "list", "pods", code=403))
    grants = [Grant("", "persistentvolumes", ("get",), "why"), Grant("", "pods", ("list",), "why")]
    assert unused(grants, uses(log, OPERATOR_USER)) == {("", "persistentvolumes", "get"), ("", "pods", "list")}
    keep(log, "other", elsewhere)
    assert unused(grants, uses(log, OPERATOR_USER)) == {("", "pods", "list")}
    log.write_text(line(1, "patch", "services", code=201))
    assert {("", "services", "patch"), ("", "services", "create")} <= uses(log, OPERATOR_USER)
