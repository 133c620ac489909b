"""What Approvals are worth for a plan: the table, and what holds for any set of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.approvals import parsed

from controlplane.api.approval import Approval
from controlplane.domain.operation.approval import (
    CLOCK_SKEW_SECONDS,
    Answer,
    Question,
    check_of,
    judge,
    unproven,
)

NOW = 1_700_000_000.0
PLAN, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
QUESTION = Question(
    kind="KafkaCluster",
    name="cell",
    uid="u",
    operation="roll-2-ab",
    plan_hash=PLAN,
    requested_by="alice",
    since=NOW,
)


def given_by(by: str = "bob", **fields: object) -> Approval:
    return parsed(**{"by": by, "plan_hash": PLAN, "uid": "u", "at": NOW + 5, "called": f"by-{by}"} | fields)


VOID = {
    "one's own": (given_by("alice"), "one's own request"),
    "a changed plan": (given_by(plan_hash=OTHER), "another plan, sha256:bbbbbbbbbbbb"),
    "another object of that name": (given_by(uid="before"), "another KafkaCluster of that name (uid before)"),
    "the same plan, long ago": (given_by(at=NOW - CLOCK_SKEW_SECONDS - 1), "before this was asked for"),
}


def test_an_approve_of_this_plan_by_somebody_else_counts() -> None:
    verdict = judge([given_by(reason="looks right")], QUESTION)
    assert (verdict.answer, verdict.approval, verdict.by) == (Answer.APPROVED, "by-bob", "bob")


def test_the_newest_that_counts_is_the_one() -> None:
    older, newer = given_by(), given_by("carol", at=NOW + 50)
    assert judge([newer, given_by("alice", at=NOW + 90), older], QUESTION).by == "carol"


def test_clocks_may_differ_a_little() -> None:
    assert judge([given_by(at=NOW - CLOCK_SKEW_SECONDS)], QUESTION).answer is Answer.APPROVED


@pytest.mark.parametrize("case", VOID)
def test_what_does_not_count_says_why(case: str) -> None:
    approval, why = VOID[case]
    verdict = judge([approval], QUESTION)
    assert verdict.answer is Answer.WAITING
    assert why in verdict.void[0].why
    assert why in check_of(verdict, QUESTION).evidence
    assert judge([approval, given_by("carol")], QUESTION).by == "carol", "and takes nothing from one that does"


@pytest.mark.parametrize(
    "approval",
    [given_by(name="other"), given_by(kind="KafkaCluster", name="cell-2"), given_by(name="other", uid="u")],
    ids=["another object", "a longer name", "this uid under another name"],
)
def test_one_for_another_object_is_not_looked_at(approval: Approval) -> None:
    """The name counts beside the uid: the verb was checked on the name, and may be held on `other` only."""
    verdict = judge([approval], QUESTION)
    assert verdict.answer is Answer.WAITING
    assert verdict.void == ()


def test_without_a_known_requester_nobody_can_approve() -> None:
    verdict = judge([given_by()], replace(QUESTION, requested_by=""))
    assert verdict.answer is Answer.WAITING
    assert "nobody stands as who asked" in verdict.void[0].why


def test_a_deny_wins_whenever_it_was_given_and_by_whomever() -> None:
    for deny in (
        given_by("carol", decision="Deny", at=NOW + 9),
        given_by("carol", decision="Deny", at=NOW - 10**6),
        given_by("alice", decision="Deny"),
    ):
        for order in itertools.permutations([given_by(), deny]):
            verdict = judge(order, QUESTION)
            assert (verdict.answer, verdict.approval) == (Answer.DENIED, deny.metadata.name)


@pytest.mark.parametrize("fields", [{"plan_hash": OTHER}, {"uid": "before"}, {"name": "other"}])
def test_a_deny_of_something_else_denies_nothing(fields: dict[str, str]) -> None:
    deny = given_by("carol", decision="Deny", **fields)
    assert judge([deny, given_by()], QUESTION).answer is Answer.APPROVED


def test_one_that_is_being_deleted_is_gone() -> None:
    metadata = given_by().metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
    assert judge([given_by().model_copy(update={"metadata": metadata})], QUESTION).answer is Answer.WAITING


def test_reasons_for_people() -> None:
    waiting = check_of(judge([], QUESTION), QUESTION)
    assert waiting.name == "AwaitingApproval"
    assert waiting.evidence == "The plan sha256:aaaaaaaaaaaa needs an approval; alice asked for it."
    assert waiting.remedy == "Somebody else looks at it and says `kfleet approve roll-2-ab`."
    own = check_of(judge([given_by("alice")], QUESTION), QUESTION)
    assert own.name == "ApprovalInvalid"
    denied = judge([given_by(decision="Deny", reason="not on a Friday")], QUESTION)
    check = check_of(denied, QUESTION)
    assert (check.name, check.ok) == ("Denied", False)
    assert check.evidence == "bob denied the plan sha256:aaaaaaaaaaaa (Approval by-bob): not on a Friday"
    assert "kubectl delete kfa by-bob" in check.remedy
    assert "is not installed" in unproven(judge([given_by()], QUESTION), ["X is not installed"]).evidence


def test_an_older_one_is_mentioned_and_no_alarm() -> None:
    """The plan changed after it was approved: AwaitingApproval, and the newest such is named."""
    old = [given_by(plan_hash=OTHER, at=NOW - 500, called="older"), given_by(plan_hash=OTHER, at=NOW - 90)]
    check = check_of(judge(old, QUESTION), QUESTION)
    assert check.name == "AwaitingApproval"
    assert "Approval by-bob by bob does not count: it is for another plan" in check.evidence
    assert "older" not in check.evidence


def test_what_the_last_operation_ran_under_is_not_mentioned() -> None:
    used = replace(QUESTION, used="by-bob")
    assert "does not count" not in check_of(judge([given_by(plan_hash=OTHER, at=NOW - 90)], used), used).evidence
    assert judge([given_by()], used).answer is Answer.WAITING, "and is used up"


def test_neither_who_asked_first_nor_who_touched_the_spec_since_may_approve() -> None:
    touched = replace(QUESTION, requested_by="mallory", first_requested_by="bob")
    assert judge([given_by()], touched).answer is Answer.WAITING
    assert judge([given_by()], replace(touched, first_requested_by="alice")).answer is Answer.APPROVED


approvals = st.builds(
    given_by,
    by=st.sampled_from(["alice", "bob", "carol"]),
    decision=st.sampled_from(["Approve", "Deny"]),
    plan_hash=st.sampled_from([PLAN, OTHER]),
    uid=st.sampled_from(["u", "before"]),
    name=st.sampled_from(["cell", "other"]),
    at=st.floats(NOW - 1000, NOW + 1000),
    called=st.integers(0, 10**6).map(lambda number: f"a-{number}"),
)


@given(st.lists(approvals, max_size=6, unique_by=lambda approval: approval.metadata.name), st.randoms())
def test_the_order_they_come_in_means_nothing(many: list[Approval], random: object) -> None:
    shuffled = list(many)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(shuffled, QUESTION) == judge(many, QUESTION)


@given(st.lists(approvals, max_size=6, unique_by=lambda approval: approval.metadata.name))
def test_approved_means_somebody_else_said_so_of_this_plan_and_nobody_denied_it(many: list[Approval]) -> None:
    """Said again without the code under test: what an auditor would ask of the objects."""
    verdict = judge(many, QUESTION)
    mine = [a for a in many if (a.spec.target_ref.name, a.spec.target_ref.uid) == ("cell", "u")]
    mine = [a for a in mine if a.spec.plan_hash == PLAN]
    denies = [a for a in mine if a.spec.decision == "Deny"]
    assert (verdict.answer is Answer.DENIED) == bool(denies)
    if verdict.answer is Answer.APPROVED:
        (chosen,) = (a for a in mine if a.metadata.name == verdict.approval)
        assert chosen.spec.decision == "Approve"
        assert chosen.spec.approver == verdict.by != "alice"


@given(st.lists(approvals, max_size=5, unique_by=lambda approval: approval.metadata.name))
def test_more_approvals_never_take_one_away_and_one_deny_ends_it(many: list[Approval]) -> None:
    with_bob = judge([*many, given_by()], QUESTION).answer
    denied = judge(many, QUESTION).answer is Answer.DENIED
    assert with_bob is (Answer.DENIED if denied else Answer.APPROVED)
    assert judge([*many, given_by("carol", decision="Deny")], QUESTION).answer is Answer.DENIED
