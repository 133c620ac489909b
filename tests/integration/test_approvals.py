"""Approvals by real users with real RBAC on a real API server: what admission refuses, and what reconcile makes of it.

alice edits, bob approves, erin may do both, mallory edits and writes Approvals but may not approve, olga approves the
cluster `other` only. The operator reads under its own ServiceAccount and the chart's role.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_server import Answer, ApiServer
from support.people import ANNOTATION, PLAN, POLICIES, approval, approval_server, as_operator, cluster, in_force
from support.refusals import ABSENT, changed
from support.sandbox import Sandbox, wait

from controlplane.api import chart, names
from controlplane.api.approval_policies import APPROVER_POLICY, REQUESTER_POLICY
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.operation import Operation
from controlplane.domain.operation.permit import FREE, Permit
from controlplane.ports import ForbiddenError, Resource
from controlplane.services.operation.approvals import APPROVALS, Approvals
from controlplane.services.operation.kind import Request

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
CLUSTERS = Resource("kfleet.dev", "v1alpha1", "kafkaclusters", "KafkaCluster")
OTHER_PLAN = "sha256:" + "b" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """With the chart's files applied and its policies in force."""
    with approval_server(tmp_path_factory.mktemp("approvals")) as running:
        yield running


def refused(answer: Answer, *says: str) -> None:
    assert answer.code != 0, f"admitted: {answer.text}"
    for words in says:
        assert words in answer.text, answer.text


def create(server: ApiServer, obj: dict[str, Any]) -> Answer:
    return server.try_kubectl("create", "-f", "-", objects=[obj])


def get(server: ApiServer, what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.kubectl("-n", "kafka", "get", what, "-o", "json"))
    return found


def patch(server: ApiServer, name: str, change: dict[str, Any], *more: str) -> Answer:
    return server.try_kubectl("-n", "kafka", "patch", f"kfc/{name}", "--type=merge", "-p", json.dumps(change), *more)


def annotated(user: str, **rest: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": {names.REQUESTED_BY: user}}} | rest


VERSION = {"spec": {"version": "4.3.1"}}


@pytest.fixture
def orders(server: ApiServer) -> Iterator[str]:
    """alice's cluster `orders`, which requires approvals; its uid. Nothing of a test is left behind."""
    alice = server.as_user("alice")
    assert create(alice, cluster("orders", by="alice")).code == 0
    yield get(server, "kfc/orders")["metadata"]["uid"]
    for item in get(server, "kfa")["items"]:
        whoever = (f"--as={item['spec']['approver']}", "--as-group=system:masters")
        server.kubectl("-n", "kafka", "delete", "kfa", item["metadata"]["name"], *whoever)
    server.kubectl("-n", "kafka", "delete", "kfc", "--all")


# Who asked.


def test_a_new_cluster_says_who_asked(server: ApiServer) -> None:
    alice = server.as_user("alice")
    for obj in (cluster("new"), cluster("new", by="bob")):
        refused(create(alice, obj), f'{ANNOTATION}: must be "alice"', "spec.rollout.approval is Required")
    answer = alice.try_kubectl("create", "--dry-run=server", "-f", "-", objects=[cluster("new", by="alice")])
    assert answer.code == 0, answer.text
    free = alice.try_kubectl("create", "--dry-run=server", "-f", "-", objects=[cluster("new", required=False)])
    assert free.code == 0, f"without the requirement nothing is asked for: {free.text}"


def test_whoever_changes_the_spec_stands_there(server: ApiServer, orders: str) -> None:
    mallory = server.as_user("mallory")
    refused(patch(mallory, "orders", VERSION), f'{ANNOTATION}: must be "mallory" (it is "alice")')
    refused(patch(mallory, "orders", annotated("bob", **VERSION)), f'{ANNOTATION}: must be "mallory" (it is "bob")')
    refused(patch(mallory, "orders", annotated("mallory")), f'{ANNOTATION}: is "alice"', "only together with the spec")
    gone = {"metadata": {"annotations": {names.REQUESTED_BY: None}}}
    refused(patch(mallory, "orders", gone), f'{ANNOTATION}: is "alice"')
    assert get(server, "kfc/orders")["metadata"]["annotations"][names.REQUESTED_BY] == "alice"
    assert patch(mallory, "orders", annotated("mallory", **VERSION)).code == 0
    assert get(server, "kfc/orders")["metadata"]["annotations"][names.REQUESTED_BY] == "mallory"


def test_server_side_apply_is_held_to_the_same(server: ApiServer, orders: str) -> None:
    mallory = server.as_user("mallory")
    wanted = cluster("orders", by="alice", required=True, **{"spec/version": "4.3.1"})
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    refused(mallory.try_kubectl(*apply, objects=[wanted]), f'{ANNOTATION}: must be "mallory"')
    wanted["metadata"]["annotations"] = {names.REQUESTED_BY: "mallory"}
    assert mallory.try_kubectl(*apply, objects=[wanted]).code == 0


def test_requiring_it_later_is_a_change_like_others(server: ApiServer) -> None:
    alice = server.as_user("alice")
    assert create(alice, cluster("later", required=False)).code == 0
    try:
        require = {"spec": {"rollout": {"approval": "Required"}}}
        refused(patch(alice, "later", require), f'{ANNOTATION}: must be "alice"')
        assert patch(alice, "later", annotated("alice", **require)).code == 0
    finally:
        server.kubectl("-n", "kafka", "delete", "kfc/later")


@pytest.mark.parametrize("rollout", [{"approval": "NotRequired"}, {"approval": None}, None], ids=str)
def test_taking_the_requirement_away_takes_the_verb(server: ApiServer, orders: str, rollout: Any) -> None:
    change = {"spec": {"rollout": rollout}}
    answer = patch(server.as_user("alice"), "orders", annotated("alice", **change))
    refused(answer, "spec.rollout.approval: taking Required away takes the verb approve", '"alice" lacks')
    refused(patch(server.as_user("erin"), "orders", change), f'{ANNOTATION}: must be "erin"')
    assert patch(server.as_user("erin"), "orders", annotated("erin", **change)).code == 0


def test_where_windows_can_be_waived_nobody_stands_there_but_who_changes_the_spec(server: ApiServer) -> None:
    """Without asking for the verb: windows are no lock. Where nobody stands, nothing can be waived."""
    window = [{"schedule": "0 2 * * 6", "duration": "4h"}]
    timed: dict[str, Any] = {"spec/maintenanceWindows": window}
    alice, mallory = server.as_user("alice"), server.as_user("mallory")
    forged = cluster("timed", by="mallory", required=False, **timed)
    refused(create(alice, forged), f'{ANNOTATION}: must be "alice"')
    assert create(alice, cluster("timed", required=False, **timed)).code == 0
    assert patch(mallory, "timed", {"spec": {"version": "4.2.0"}}).code == 0, "who does not want waivers need not say"
    assert patch(alice, "timed", annotated("alice", spec={"version": "4.1.2"})).code == 0
    try:
        none: dict[str, Any] = {"spec": {"maintenanceWindows": []}}
        refused(patch(mallory, "timed", VERSION), f'{ANNOTATION}: must be "mallory"', "spec.maintenanceWindows is set")
        refused(patch(alice, "timed", annotated("mallory")), f'{ANNOTATION}: is "alice"', "only together with the spec")
        refused(patch(mallory, "timed", none), f'{ANNOTATION}: must be "mallory"')
        assert patch(alice, "timed", none).code == 0
        assert patch(mallory, "timed", VERSION).code == 0, "without windows as ever"
        assert patch(alice, "timed", annotated("alice", spec={"maintenanceWindows": window})).code == 0
    finally:
        assert alice.try_kubectl("-n", "kafka", "delete", "kfc/timed").code == 0


def test_deleting_and_making_anew_is_no_way_around(server: ApiServer, orders: str) -> None:
    answer = server.as_user("alice").try_kubectl("-n", "kafka", "delete", "kfc/orders")
    refused(answer, "is Required, so deleting the cluster takes the verb approve", '"alice" lacks')
    all_of_them = server.as_user("alice").try_kubectl(
        "delete", "--raw", "/apis/kfleet.dev/v1alpha1/namespaces/kafka/kafkaclusters"
    )
    refused(all_of_them, "takes the verb approve")
    assert get(server, "kfc/orders")["metadata"]["uid"] == orders
    assert server.as_user("erin").try_kubectl("-n", "kafka", "delete", "kfc/orders").code == 0


async def test_the_operator_and_whoever_labels_are_left_alone(server: ApiServer, orders: str) -> None:
    assert server.as_user("mallory").try_kubectl("-n", "kafka", "label", "kfc/orders", "kfleet.dev/ring=main").code == 0
    pause = f"{names.PAUSED}=true"
    assert server.as_user("mallory").try_kubectl("-n", "kafka", "annotate", "kfc/orders", pause).code == 0
    async with as_operator(server) as kube:
        obj = await kube.get(CLUSTERS, "orders", "kafka")
        obj["status"] = {"version": "4.2.0"}
        await kube.replace(CLUSTERS, obj, subresource="status")


# Who may approve.


def test_an_approver_approves_and_sees_it(server: ApiServer, orders: str) -> None:
    bob = server.as_user("bob")
    assert create(bob, approval("ok", by="bob", uid=orders, reason="looks right")).code == 0
    header, row = bob.kubectl("-n", "kafka", "get", "kfa", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "DECISION", "KIND", "TARGET", "APPROVER", "REASON", "PLAN", "AGE"]
    assert row.split()[:7] == ["ok", "Approve", "KafkaCluster", "orders", "bob", "looks", "right"]


def test_without_rights_nothing_is_approved(server: ApiServer, orders: str) -> None:
    """alice may edit: RBAC lets her create no Approval at all."""
    refused(create(server.as_user("alice"), approval("x", by="alice", uid=orders)), 'User "alice" cannot create')


def test_a_forged_approver_is_refused(server: ApiServer, orders: str) -> None:
    mine = "an Approval is given in one's own name"
    for person in ("mallory", "erin"):
        answer = create(server.as_user(person), approval("forged", by="bob", uid=orders))
        refused(answer, f'spec.approver: is "bob" and the authenticated user is "{person}"', mine)


def test_who_may_write_approvals_and_not_approve_is_refused(server: ApiServer, orders: str) -> None:
    answer = create(server.as_user("mallory"), approval("x", by="mallory", uid=orders))
    refused(answer, '"mallory" lacks the verb approve on kafkaclusters.kfleet.dev kafka/orders', "kfleet-approver")
    deny = create(server.as_user("mallory"), approval("x", by="mallory", uid=orders, decision="Deny"))
    refused(deny, '"mallory" lacks the verb approve')


def test_the_verb_on_another_cluster_is_not_enough(server: ApiServer, orders: str) -> None:
    answer = create(server.as_user("olga"), approval("x", by="olga", uid=orders))
    refused(answer, '"olga" lacks the verb approve on kafkaclusters.kfleet.dev kafka/orders')
    assert create(server.as_user("olga"), approval("x", by="olga", uid=orders, target="other")).code == 0


def test_a_word_once_given_stays(server: ApiServer, orders: str) -> None:
    assert create(server.as_user("bob"), approval("ok", by="bob", uid=orders)).code == 0
    change = ("-n", "kafka", "patch", "kfa/ok", "--type=merge", "-p", json.dumps({"spec": {"planHash": OTHER_PLAN}}))
    refused(server.as_user("bob").try_kubectl(*change), 'User "bob" cannot patch')
    refused(server.try_kubectl(*change), "spec: immutable")
    whole = approval("ok", by="bob", uid=orders)
    gone = changed(whole, {"spec": ABSENT})
    refused(server.try_kubectl("replace", "-f", "-", objects=[gone]), "spec")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no hash": ({"spec/planHash": ""}, "spec.planHash"),
    "a hash cut short": ({"spec/planHash": PLAN[:-1]}, "spec.planHash"),
    "another kind": ({"spec/targetRef/kind": "KafkaTopic"}, "spec.targetRef.kind"),
    "no uid": ({"spec/targetRef/uid": ABSENT}, "spec.targetRef.uid"),
    "another word": ({"spec/decision": "Maybe"}, "spec.decision"),
    "nobody": ({"spec/approver": ""}, "spec.approver"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_approval_is_refused(server: ApiServer, case: str) -> None:
    changes, path = BAD[case]
    refused(create(server.as_user("bob"), changed(approval("bad", by="bob", uid="u"), changes)), path)


# Taking it back.


def test_only_who_gave_it_takes_it_back(server: ApiServer, orders: str) -> None:
    assert create(server.as_user("bob"), approval("no", by="bob", uid=orders, decision="Deny")).code == 0
    delete = ("-n", "kafka", "delete", "kfa/no")
    refused(server.as_user("erin").try_kubectl(*delete), "an Approval is taken back by who gave it")
    refused(server.try_kubectl(*delete), 'spec.approver: is "bob" and the authenticated user is "admin"')
    every = ("delete", "--raw", "/apis/kfleet.dev/v1alpha1/namespaces/kafka/approvals")
    refused(server.as_user("mallory").try_kubectl(*every), "an Approval is taken back by who gave it")
    assert get(server, "kfa/no")["spec"]["approver"] == "bob"
    assert server.as_user("bob").try_kubectl(*delete).code == 0


COLLECTOR = "--as=system:serviceaccount:kube-system:generic-garbage-collector"


def test_the_garbage_collector_and_the_end_of_a_namespace_wait_for_nobody(server: ApiServer, orders: str) -> None:
    assert create(server.as_user("bob"), approval("ok", by="bob", uid=orders)).code == 0
    assert server.try_kubectl("-n", "kafka", "delete", "kfa/ok", COLLECTOR, "--wait=false").code == 0
    server.kubectl("create", "namespace", "ending")
    gone = changed(cluster("doomed", by="admin"), {"metadata/namespace": "ending"})
    server.kubectl("create", "-f", "-", objects=[gone])
    controller = "--as=system:serviceaccount:kube-system:namespace-controller"
    delete = ("-n", "ending", "delete", "kfc/doomed", controller)
    refused(server.try_kubectl(*delete), "takes the verb approve")
    server.kubectl("delete", "namespace", "ending", "--wait=false")
    server.until(*delete)


# What reconcile makes of it.


def operation(plan: str = PLAN, *, since: float | None = None) -> Operation:
    began = timestamp(time.time() if since is None else since)
    return Operation(id="roll-1-ab", kind="Roll", goal="Version 4.3.1", plan_hash=plan, started_at=began)


async def judged(server: ApiServer, asked: Operation | None = None, name: str = "orders") -> Permit:
    """As the engine asks, by the operator's own identity."""
    async with as_operator(server) as kube:
        obj = await kube.get(CLUSTERS, name, "kafka")
        by = KafkaCluster.model_validate(obj).metadata.annotations.get(names.REQUESTED_BY, "")
        request = Request(approval_required=True, requested_by=by)
        return await Approvals(kube).judge(FREE, asked or operation(), request, obj)


def held(permit: Permit) -> tuple[str, str]:
    (check,) = permit.holds
    return check.name, check.evidence


async def test_alice_asks_and_bob_approves(server: ApiServer, orders: str) -> None:
    asked = operation()
    assert held(await judged(server, asked))[0] == "AwaitingApproval"
    assert create(server.as_user("bob"), approval("ok", by="bob", uid=orders)).code == 0
    permit = await judged(server, asked)
    assert (permit.approval, permit.holds, permit.stop) == ("ok", (), None)
    changed_plan = await judged(server, operation(OTHER_PLAN, since=time.time() + 5))
    name, why = held(changed_plan)
    assert name == "AwaitingApproval"
    assert f"Approval ok by bob does not count: it is for another plan, {PLAN[:19]}" in why


async def test_a_deny_wins(server: ApiServer, orders: str) -> None:
    asked = operation()
    assert create(server.as_user("bob"), approval("ok", by="bob", uid=orders)).code == 0
    assert create(server.as_user("erin"), approval("no", by="erin", uid=orders, decision="Deny")).code == 0
    permit = await judged(server, asked)
    assert (held(permit)[0], permit.stop) == ("Denied", "Denied")
    server.as_user("erin").kubectl("-n", "kafka", "delete", "kfa/no")
    assert (await judged(server, asked)).approval == "ok"


async def test_ones_own_request_is_not_approved(server: ApiServer, orders: str) -> None:
    """erin may edit and approve: admission lets her Approval in, because it cannot know what she asked for."""
    erin = server.as_user("erin")
    assert patch(erin, "orders", annotated("erin", **VERSION)).code == 0
    asked = operation()
    assert create(erin, approval("own", by="erin", uid=orders)).code == 0
    name, why = held(await judged(server, asked))
    assert name == "ApprovalInvalid"
    assert "Approval own by erin does not count: one's own request is approved by somebody else" in why
    assert create(server.as_user("bob"), approval("ok", by="bob", uid=orders)).code == 0
    assert (await judged(server, asked)).approval == "ok"


async def test_this_uid_under_the_name_of_another_cluster_counts_nowhere(server: ApiServer, orders: str) -> None:
    """olga may approve `other` only. With the uid of `orders` beside that name her Approval gets in, and no further."""
    assert create(server.as_user("olga"), approval("trick", by="olga", uid=orders, target="other")).code == 0
    assert held(await judged(server))[0] == "AwaitingApproval"
    assert create(server.as_user("erin"), cluster("other", by="erin")).code == 0
    assert "another KafkaCluster of that name" in held(await judged(server, name="other"))[1]


async def test_another_object_of_the_name_needs_its_own(server: ApiServer, orders: str) -> None:
    asked = operation()
    assert create(server.as_user("bob"), approval("ok", by="bob", uid=orders)).code == 0
    erin = server.as_user("erin")
    erin.kubectl("-n", "kafka", "delete", "kfc/orders")
    assert create(erin, cluster("orders", by="erin")).code == 0
    name, why = held(await judged(server, asked))
    assert name == "ApprovalInvalid"
    assert "it is for another KafkaCluster of that name" in why


async def test_the_operator_cannot_approve(server: ApiServer, orders: str) -> None:
    async with as_operator(server) as kube:
        body = approval("x", by="system:serviceaccount:kfleet:kfleet-operator", uid=orders)
        with pytest.raises(ForbiddenError, match="cannot create"):
            await kube.create(APPROVALS, body)


async def test_a_long_list_is_filtered_by_the_server(server: ApiServer, orders: str) -> None:
    bob = server.as_user("bob")
    bob.kubectl("create", "-f", "-", objects=[approval(f"o-{n}", by="bob", uid="u", target="others") for n in range(3)])
    assert create(bob, approval("mine", by="bob", uid=orders)).code == 0
    async with as_operator(server) as kube:
        found = await kube.list(APPROVALS, "kafka", fields="spec.targetRef.name=orders")
        assert [item["metadata"]["name"] for item in found] == ["mine"]


@pytest.mark.parametrize("gone", ["validatingadmissionpolicybinding", "validatingadmissionpolicy"])
async def test_without_the_policy_a_forged_one_gets_in_and_is_not_believed(
    server: ApiServer, orders: str, gone: str
) -> None:
    """The control: it is this policy that keeps it out. The operator, which cannot tell who made an Approval, sees that
    nothing kept forgers out when it was made."""
    asked = operation()
    forged = approval("forged", by="bob", uid=orders)
    mallory = server.as_user("mallory")
    refused(create(mallory, forged), "spec.approver")
    server.kubectl("delete", gone, APPROVER_POLICY)
    try:
        mallory.until("create", "--dry-run=server", "-f", "-", objects=[forged])
        assert create(mallory, forged).code == 0
        name, why = held(await judged(server, asked))
        assert name == "ApprovalInvalid"
        assert f"{APPROVER_POLICY} is not installed" in why
    finally:
        server.kubectl("apply", "-f", POLICIES)
        in_force(server)
    assert f"{APPROVER_POLICY} is no older than it" in held(await judged(server, asked))[1]
    assert create(server.as_user("bob"), approval("true", by="bob", uid=orders)).code == 0
    assert (await judged(server, asked)).approval == "true"


async def test_without_the_requester_policy_anyone_asks_in_any_name(server: ApiServer, orders: str) -> None:
    server.kubectl("delete", "validatingadmissionpolicybinding", REQUESTER_POLICY)
    try:
        forged = annotated("bob", **VERSION)
        mallory = server.as_user("mallory")
        until = ("-n", "kafka", "patch", "kfc/orders", "--type=merge", "-p", json.dumps(forged))
        mallory.until(*until)
        assert get(server, "kfc/orders")["metadata"]["annotations"][names.REQUESTED_BY] == "bob"
        asked = operation()
        assert create(server.as_user("erin"), approval("ok", by="erin", uid=orders)).code == 0
        assert f"{REQUESTER_POLICY} is not installed" in held(await judged(server, asked))[1]
    finally:
        server.kubectl("apply", "-f", POLICIES)
        in_force(server)


# With the controllers that a lean API server lacks.


def test_nothing_hangs_where_the_real_controllers_clean_up(sandbox: Sandbox) -> None:
    """An Approval goes with its cluster, and both with their namespace; nobody with the verb has to be there."""
    sandbox.kubectl("create", "namespace", "approvals-end")
    home = {"metadata/namespace": "approvals-end"}
    me = sandbox.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    for name in ("one", "two"):
        sandbox.kubectl("create", "-f", "-", stdin=yaml.safe_dump(changed(cluster(name, by=me), home)))
        uid = sandbox.kubectl("-n", "approvals-end", "get", f"kfc/{name}", "-o", "jsonpath={.metadata.uid}")
        owned = changed(approval(f"of-{name}", by=me, uid=uid, target=name), home)
        owner = {"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaCluster", "name": name, "uid": uid}
        owned["metadata"]["ownerReferences"] = [owner]
        sandbox.kubectl("create", "-f", "-", stdin=yaml.safe_dump(owned))
    sandbox.kubectl("-n", "approvals-end", "delete", "kfc/one")
    sandbox.kubectl("-n", "approvals-end", "wait", "--for=delete", "kfa/of-one", "--timeout=120s")
    assert "of-two" in sandbox.kubectl("-n", "approvals-end", "get", "kfa")
    sandbox.kubectl("delete", "namespace", "approvals-end", "--timeout=150s")


def test_edit_aggregates_into_no_right_to_approve(sandbox: Sandbox) -> None:
    sandbox.kubectl("create", "namespace", "approvals-edit")
    try:
        sandbox.kubectl("-n", "approvals-edit", "create", "rolebinding", "e", "--clusterrole=admin", "--user=zoe")

        def may(verb: str, resource: str) -> bool:
            who = ("-n", "approvals-edit", "--as=zoe")
            return sandbox.kubectl("auth", "can-i", verb, f"{resource}.kfleet.dev", *who, check=False).strip() == "yes"

        wait("the roles are aggregated", lambda: may("update", "kafkaclusters") and may("list", "approvals"))
        for verb in ("create", "delete", "update", "patch"):
            assert not may(verb, "approvals")
        assert not may("approve", "kafkaclusters")
    finally:
        sandbox.kubectl("delete", "namespace", "approvals-edit", "--wait=false")


def test_chart_and_package_install_the_same_policies(server: ApiServer) -> None:
    text = server.kubectl("apply", "-f", "-", objects=chart.files()["20-policies.yaml"])
    assert {line.rsplit(" ", 1)[1] for line in text.splitlines()} == {"unchanged"}, text
