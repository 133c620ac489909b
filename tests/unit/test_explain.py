"""The catalogue against the source: what the code can say is explained, and what is explained can be said."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support.cli_tree import Leaf, commands
from support.produced import Produced, produced
from support.warm_cli import WarmCli

from controlplane.api.operation import Outcome
from controlplane.domain.cluster.away import AWAY
from controlplane.domain.cluster.emptying import EMPTYING
from controlplane.domain.cluster.status import REFUSALS
from controlplane.domain.explain import CATALOGUE, CHAPTERS, Entry, Sort, find, nearest
from controlplane.domain.explain.page import WIDTH, entry_text, markdown
from controlplane.domain.membership.values import MEMBER_ACTIONS
from controlplane.domain.rebalance.steps import TRAITS
from controlplane.domain.shedding.ladder import Level
from controlplane.domain.shedding.status import REASONS

ROOT = Path(__file__).parents[2]

ELSEWHERE: frozenset[str] = frozenset()
"""What is said at such a place is found where it comes from."""
PURPOSES = AWAY.waits | EMPTYING.waits
"""Checks about KafkaRebalances that a cluster asks for by itself."""
DOMAIN, SERVICES, NODE = "controlplane/domain", "controlplane/services", "controlplane/sandbox/node"
COMPUTED: dict[str, tuple[Sort, frozenset[str]]] = {
    f"{DOMAIN}/cluster/moves.py::answer::Check": (Sort.CHECK, PURPOSES),
    f"{DOMAIN}/cluster/moves.py::standing::Check": (Sort.CHECK, PURPOSES),
    f"{DOMAIN}/cluster/moves.py::_failed::Check": (Sort.CHECK, PURPOSES),
    f"{SERVICES}/cluster/kind.py::explain::Check": (Sort.CHECK, PURPOSES),
    f"{DOMAIN}/cluster/status.py::_disks::Check": (Sort.CHECK, frozenset(REFUSALS)),
    f"{DOMAIN}/cluster/status.py::cluster_status::set_condition": (Sort.CONDITION, ELSEWHERE),
    f"{DOMAIN}/cluster/decide.py::_operation::ended": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/cluster/decide.py::_refuse::ended": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/cluster/members.py::operation_of::ended": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/cluster/members.py::over::ended": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/membership/operation.py::to_operation::OperationStep": (
        Sort.STEP,
        frozenset(action.__name__ for action in MEMBER_ACTIONS),
    ),
    f"{DOMAIN}/membership/operation.py::ended::finished": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/membership/operation.py::ended::entry_of": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/operation/conditions.py::_set::set_condition": (Sort.CONDITION, ELSEWHERE),
    f"{SERVICES}/operation/frozen.py::tell::record": (Sort.EVENT, ELSEWHERE),
    f"{DOMAIN}/operation/frozen.py::_ended::finished": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/operation/frozen.py::_stop::_turn": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/operation/frozen.py::_stop::Check": (Sort.CHECK, ELSEWHERE),
    f"{DOMAIN}/operation/frozen.py::undone_by::OperationStep": (Sort.STEP, ELSEWHERE),
    f"{DOMAIN}/operation/verb.py::step_of::OperationStep": (Sort.STEP, frozenset(TRAITS)),
    f"{DOMAIN}/rebalance/status.py::described::set_condition": (Sort.CONDITION, ELSEWHERE),
    f"{DOMAIN}/rolling/operation.py::ended::finished": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/rolling/operation.py::ended::entry_of": (Sort.OUTCOME, ELSEWHERE),
    f"{DOMAIN}/rolling/operation.py::to_operation::OperationStep": (Sort.STEP, ELSEWHERE),
    f"{SERVICES}/cluster/kind.py::tell::record": (
        Sort.EVENT,
        frozenset(
            {"MembersChanging", "RollStarted", "UpgradeRolledBack"}
            | {
                f"{what}{outcome}"
                for what in ("Roll", "MemberChange")
                for outcome in ("Succeeded", "Superseded", "Cancelled", "Denied")
            }
        ),
    ),
    f"{DOMAIN}/shedding/status.py::with_status::set_condition": (Sort.REASON, frozenset(REASONS.values())),
    f"{SERVICES}/shedding.py::_tell::record": (
        Sort.EVENT,
        frozenset(reason for level, reason in REASONS.items() if level > Level.NONE),
    ),
    f"{DOMAIN}/tenants/status.py::tenant_status::set_condition": (Sort.REASON, frozenset({"WithinLimits"})),
    f"{DOMAIN}/tenants/status.py::tenant_status::Check": (Sort.CHECK, ELSEWHERE),
    f"{DOMAIN}/tenants/status.py::_placed::Check": (Sort.CHECK, ELSEWHERE),
    f"{DOMAIN}/tenants/status.py::_verdict::Check": (Sort.CHECK, ELSEWHERE),
    f"{SERVICES}/tenants/service.py::_write::record": (
        Sort.EVENT,
        frozenset(
            {
                "ClusterNotFound",
                "ClusterNotReady",
                "InvalidSpec",
                "KafkaUnavailable",
                "MoveFailed",
                "MoveRefused",
                "Moving",
                "PlanningFailed",
            }
            | {"NamespaceTaken", "OverlapExceeded", "Placed", "Placing", "PrefixTaken", "ShardDoesNotFit"}
            | {"ShardTooSmall"}
        ),
    ),
    f"{SERVICES}/topic_status.py::topic_status::set_condition": (
        Sort.REASON,
        frozenset(
            {"AsDeclared", "ClusterNotFound", "ClusterNotReady", "Creating", "KafkaRefused", "KafkaUnavailable"}
            | {"NamespaceNotEnrolled", "WaitingForBrokers"}
        ),
    ),
    f"{SERVICES}/topic_status.py::write::record": (
        Sort.EVENT,
        frozenset(
            {"AsDeclared", "ClusterNotFound", "ClusterNotReady", "Creating", "KafkaRefused", "KafkaUnavailable"}
            | {"NamespaceNotEnrolled", "WaitingForBrokers"}
        ),
    ),
    f"{SERVICES}/users/status.py::user_status::set_condition": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/users/service.py::reconcile::Standing": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/users/report.py::standing::Standing": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/users/service.py::write_problem::Standing": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/users/carry_out.py::_case::Obstacle": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/homes.py::tell::Standing": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/users/report.py::_of_credentials::Standing": (Sort.REASON, ELSEWHERE),
    f"{SERVICES}/users/report.py::write::record": (
        Sort.EVENT,
        frozenset(
            {"AsDeclared", "Applying", "AuthorityMissing", "AuthorizationDisabled", "CertificateStillValid"}
            | {"ClusterNotFound", "ClusterNotReady", "CredentialExists", "DenialImpossible", "InvalidSpec"}
            | {"KafkaRefused", "KafkaUnavailable", "ListenerMissing", "PrincipalTaken", "Revoked", "Revoking"}
            | {"SecretMoved", "SecretRefused", "SecretTaken", "SessionsNotOver", "UnexpectedError"}
            | {"CellLeft", "CellNotNamed", "ForeignPrefix", "NamespaceNotListed", "NamespaceTaken", "PrefixTaken"}
            | {"CellElsewhere", "NamespaceNotWatched", "PrincipalHasRules", "NamespaceNotEnrolled", "TenantNotFound"}
        ),
    ),
    f"{NODE}/images.py::tell::normal": (Sort.EVENT, ELSEWHERE),
    f"{NODE}/images.py::warn::warning": (Sort.EVENT, ELSEWHERE),
    f"{NODE}/worker.py::_fail::normal": (Sort.EVENT, ELSEWHERE),
    "controlplane/sandbox/proxy/server.py::_warn::record": (Sort.EVENT, ELSEWHERE),
}
"""Places where a name is computed, and what they can say. A roll never fails; an upgrade can be rolled back."""


@pytest.fixture(scope="module")
def walked() -> Produced:
    found = produced(ROOT)
    for place, (sort, names) in COMPUTED.items():
        for name in names:
            found.add(sort, name, place)
    return found


def unexplained(found: Produced, catalogue: dict[str, Entry]) -> list[str]:
    return [
        f"{name} ({sort}) at {place}"
        for sort, names in found.names.items()
        for name, place in names.items()
        if name not in catalogue or sort not in catalogue[name].sorts
    ]


def unsaid(found: Produced, catalogue: dict[str, Entry]) -> list[str]:
    return [
        f"{entry.name} ({sort})"
        for entry in catalogue.values()
        for sort in entry.sorts
        if entry.name not in found.names.get(sort, {})
    ]


def test_everything_the_code_can_say_is_explained(walked: Produced) -> None:
    assert unexplained(walked, CATALOGUE) == []


def test_everything_explained_can_be_said(walked: Produced) -> None:
    assert unsaid(walked, CATALOGUE) == []


def test_every_computed_name_is_accounted_for(walked: Produced) -> None:
    assert sorted(set(walked.unresolved)) == sorted(COMPUTED)


def test_every_sort_is_found(walked: Produced) -> None:
    """A walk that had lost its way would find nothing, and nothing would be missing."""
    assert {sort for sort, names in walked.names.items() if names} == set(Sort)


def plant(root: Path, path: str, text: str) -> Produced:
    """The walk over a project that consists of the constants it relies on and one planted file."""
    for known in ("controlplane/api/conditions.py", "controlplane/domain/rolling/values.py"):
        (root / known).parent.mkdir(parents=True, exist_ok=True)
        (root / known).write_text((ROOT / known).read_text())
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    return produced(root)


PLANTED = [
    (Sort.CHECK, "services/x.py", 'Check("Planted", ok=False)'),
    (Sort.CHECK, "domain/x.py", 'def f(a):\n    name = "Planted" if a else "Paused"\n    return Check(name, ok=a)'),
    (Sort.CHECK, "domain/x.py", 'PLANTED = "Planted"\n\ndef f():\n    return Check(PLANTED, ok=False)'),
    (Sort.CONDITION, "services/x.py", 'c.set_condition((), "Planted", True, "AsDeclared", now=0)'),
    (Sort.REASON, "services/x.py", 'c.set_condition((), "Ready", True, "Planted", now=0)'),
    (
        Sort.REASON,
        "services/x.py",
        'def f():\n    set_condition\n    g(set_condition())\n    return False, "Planted", ""',
    ),
    (Sort.EVENT, "services/x.py", 'events.record(obj, "Normal", "Planted", "")'),
    (Sort.OUTCOME, "domain/x.py", 'entry_of(step, 1, "Planted", now=0)'),
    (Sort.OUTCOME, "domain/x.py", 'finished(operation, "Planted", message="", now=0)'),
    (Sort.STEP, "services/x.py", 'OperationStep(id=1, verb="Planted")'),
    (Sort.EVENT, "sandbox/x.py", 'self._events.warning(pod, "Planted", "")'),
    (Sort.ACTION, "domain/cluster/setup.py", "SetupStep = Planted | CreateVolume"),
    (Sort.ACTION, "services/cluster/execute.py", "match action:\n    case rolling.Planted():\n        pass"),
    (Sort.STATE, "domain/cluster/status.py", 'def _state(node):\n    set_condition()\n    return "Planted", None'),
    (Sort.CLUSTER_STATE, "domain/health/summary.py", 'class State(StrEnum):\n    X = "Planted"'),
    (Sort.OPERATION_STATE, "cli/op_find.py", 'UNDER_WAY, WAITING = "Planted", "Waiting"'),
    (Sort.STEP, "domain/rolling/x.py", "from y import Step\n\nprint(Step.STOPPING)"),
    (Sort.CAUSE, "domain/rolling/x.py", "from y import RestartReason\n\nprint(RestartReason.REQUESTED)"),
]


@pytest.mark.parametrize(("sort", "path", "text"), PLANTED)
def test_a_planted_name_is_found(tmp_path: Path, sort: Sort, path: str, text: str) -> None:
    found = plant(tmp_path, f"controlplane/{path}", text)
    wanted = (
        {"Stopping"} if sort is Sort.STEP and "Step." in text else {"Requested"} if sort is Sort.CAUSE else {"Planted"}
    )
    assert wanted <= set(found.names[sort])
    without = {name: entry for name, entry in CATALOGUE.items() if name not in wanted}
    assert any(
        line.startswith(f"{next(iter(wanted))} ({sort}) at controlplane/") for line in unexplained(found, without)
    )


def test_a_planted_refusal_of_the_init_container_is_found(tmp_path: Path) -> None:
    path = "controlplane/images/kafka/bin/kafka-node-format"
    found = plant(tmp_path, path, '# refuse Commented\n[ -d x ] || refuse Planted "words"\n')
    assert set(found.names[Sort.REFUSAL]) == {"Planted"}


@pytest.mark.parametrize("text", ["Check(node.word, ok=False)", 'events.record(obj, "Normal", f"Roll{x}", "")'])
def test_a_name_that_is_computed_is_not_passed_over(tmp_path: Path, text: str) -> None:
    assert len(plant(tmp_path, "controlplane/services/x.py", text).unresolved) == 1


def test_an_entry_that_nobody_says_is_found(walked: Produced) -> None:
    entry = Entry("Planted", (Sort.CHECK,), "Never.", "Never.")
    assert unsaid(walked, CATALOGUE | {"Planted": entry}) == ["Planted (check)"]
    twice = CATALOGUE | {"NodeMissing": Entry("NodeMissing", (Sort.CHECK, Sort.EVENT), "Never.", "Never.")}
    assert unsaid(walked, twice) == ["NodeMissing (event)"]


def test_names_are_unique_and_the_outcomes_complete() -> None:
    assert len(CATALOGUE) == sum(len(entries) for entries in CHAPTERS.values())
    ends = {name for name, entry in CATALOGUE.items() if Sort.OUTCOME in entry.sorts}
    assert set(Outcome.__args__) <= ends  # type: ignore[attr-defined]


def stale_commands(entries: Iterable[Entry], leaves: dict[tuple[str, ...], Leaf]) -> list[str]:
    """`kfleet` command lines in the catalogue that the CLI does not have, with their options."""
    return [
        f"{entry.name}: {line}" for entry in entries for line in _kfleet_lines(entry) if not _is_command(line, leaves)
    ]


def _kfleet_lines(entry: Entry) -> Iterator[str]:
    yield from (line for line in entry.see if line.startswith("kfleet "))
    quoted = f"{entry.means} {entry.does} {entry.remedy}".split("`")[1::2]
    yield from (line for line in quoted if line.startswith("kfleet "))


def _is_command(line: str, leaves: dict[tuple[str, ...], Leaf]) -> bool:
    words = shlex.split(line)[1:]
    names = [word for word in words if not word.startswith("-")]
    for length in (2, 1):
        leaf = leaves.get(tuple(names[:length]))
        if leaf is not None and not hasattr(leaf.command, "commands"):
            return {word for word in words if word.startswith("-")} <= leaf.options
    return False


def test_every_command_it_points_to_exists() -> None:
    leaves = {leaf.words: leaf for leaf in commands()}
    assert stale_commands(CATALOGUE.values(), leaves) == []
    planted = Entry("Planted", (Sort.CHECK,), "See `kfleet op wtach ID`.", "-", see=("kfleet op watch ID --lokal",))
    assert len(stale_commands([planted], leaves)) == 2


def test_every_explanation_it_points_to_exists() -> None:
    asked = [line.split()[2] for entry in CATALOGUE.values() for line in _kfleet_lines(entry) if " explain " in line]
    assert [name for name in asked if not name.isupper() and name not in CATALOGUE] == []


def test_the_page_is_as_generated() -> None:
    page = ROOT / "docs" / "explain.md"
    assert page.read_text() == markdown(), "run: .venv/bin/kfleet explain --page > docs/explain.md"


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_an_entry_fits_the_screen(name: str) -> None:
    assert max(len(line) for line in entry_text(CATALOGUE[name]).splitlines()) <= WIDTH


def test_names_are_found_in_any_case_and_near_ones_offered() -> None:
    assert find("underMINisr") is CATALOGUE["UnderMinIsr"]
    assert find("Nonsense") is None
    assert nearest("NodeNotRedy")[0] == "NodeNotReady"
    assert "UnprotectedPartitions" in nearest("unprotected")
    assert nearest("qqqq") == []


def test_explain_as_a_command(warm: WarmCli) -> None:
    def kfleet(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.run(["explain", *arguments], os.environ)

    shown = kfleet("unprotectedpartitions")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("UnprotectedPartitions (check)\n\nWhat it means\n")
    wrong = kfleet("UnprotectdPartitions")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == (
        "kfleet: kfleet says nothing that is called 'UnprotectdPartitions'; did you mean UnprotectedPartitions?\n"
    )
    everything = kfleet("-o", "name")
    assert everything.stdout.split() == sorted(CATALOGUE)
    assert kfleet("--page").stdout == markdown()
