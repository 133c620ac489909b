"""`kfleet rebalance plan`: what is in the files, what bad ones get, and what comes out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli_tree import Run, problems_of_error, run

from controlplane.adapters.solver.worker import plan_rebalance
from controlplane.cli import rebalance_plan
from controlplane.domain.rebalance.proposal import Proposal

EXAMPLES = Path(__file__).parents[2] / "examples" / "rebalance"
TWO = [{"id": 1}, {"id": 2}]


def assignment(*replicas: list[Any], topic: str = "t") -> dict[str, Any]:
    parts = [{"topic": topic, "partition": at, "replicas": one} for at, one in enumerate(replicas)]
    return {"version": 1, "partitions": parts}


def plan(tmp_path: Path, partitions: Any, brokers: Any, goal: str = "balance", **files: Any) -> Run:
    """`files`: sizes and allowed; what is text is written as it is."""
    arguments = ["rebalance", "plan", "--goal", goal]
    for name, content in {"assignment": partitions, "brokers": brokers, **files}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        arguments += [f"--{name}", str(path)]
    return run(arguments)


@pytest.mark.parametrize(
    ("partitions", "brokers", "says"),
    [
        ("{", TWO, "assignment.json: not JSON: line 1 column 2"),
        ("[]", TWO, 'not an assignment: it is {"version": 1'),
        ({"version": 2, "partitions": []}, TWO, "version: 2 is not known: it is 1"),
        ({"partitions": ["x"]}, TWO, "partitions[0]: 'x' is not an object"),
        ({"partitions": [{"partition": 0}]}, TWO, "partitions[0].topic: None is not the name of a topic"),
        (assignment([1], [1, "2"]), TWO, "partitions[1].replicas[1]: '2' is not a whole number"),
        (assignment([True]), TWO, "partitions[0].replicas[0]: True is not a whole number"),
        (assignment([-1]), TWO, "partitions[0].replicas[0]: -1 is not a whole number from 0"),
        ({"partitions": [{"topic": "t", "partition": 0, "replicas": 1}]}, TWO, "replicas: 1 is not a list"),
        (assignment([1, 1]), TWO, "t-0: a broker is there twice in its replicas [1, 1]"),
        (assignment([]), TWO, "t-0: it has no replicas"),
        ({"partitions": assignment([1])["partitions"] * 2}, TWO, "t-0: it is there twice: leave one"),
        (assignment([1, 7]), TWO, "t-0: replicas on brokers that are not listed (7): list them among the brokers"),
        (assignment([1]), {"id": 1}, "brokers.json: not a list of brokers"),
        (assignment([1]), [1], "brokers.json: [0]: 1 is not an object"),
        (assignment([1]), [{"id": 1, "wieght": 2}], "[0].wieght: no such field; a broker has id, rack, weight"),
        (assignment([1]), [{"rack": "a"}], "[0].id: None is not a whole number"),
        (assignment([1]), [{"id": 1, "rack": 3}], "[0].rack: 3 is not text"),
        (assignment([1]), [{"id": 1, "weight": "1"}], "[0].weight: '1' is not a number"),
        (assignment([1]), [{"id": 1, "weight": 0}], "broker 1: its weight 0 is not above zero: give it one, or drain"),
        (assignment([1]), [{"id": 1, "weight": -2.5}], "broker 1: its weight -2.5 is not above zero"),
        (assignment([1]), '[{"id": 1, "weight": NaN}]', "broker 1: its weight nan is not above zero"),
        (assignment([1]), [{"id": 1, "weight": 10**400}], "[0].weight: not above 0 and at most 1000000000"),
        (assignment([1]), [{"id": 1, "weight": -(10**400)}], "[0].weight: not above 0 and at most 1000000000"),
        (assignment([1]), '[{"id": 1, "weight": Infinity}]', "[0].weight: not above 0 and at most 1000000000"),
        (assignment([1]), "[" * 100_000, "brokers.json: not JSON: "),
        (assignment([1], topic=""), TWO, "partitions[0].topic: '' is empty"),
        (assignment([1], topic=".."), TWO, "partitions[0].topic: '..' is not a name"),
        (assignment([1], topic="../x y\0"), TWO, "topic: '../x y\\x00' has characters other than letters"),
        (assignment([1], topic="t" * 250), TWO, "has 250 characters, Kafka takes 249"),
        (assignment([1]), [{"id": 1, "capacity": "ten"}], "[0].capacity: 'ten' is not a quantity"),
        (assignment([1]), [{"id": 1, "capacity": -1}], "[0].capacity: '-1' is a negative size"),
        (assignment([1]), [{"id": 1}, {"id": 1}], "broker 1: it is listed twice"),
        (assignment([1]), [{"id": 1, "rack": "a"}, {"id": 2}], "some have a rack and 2 none: give a rack to all"),
        (assignment([1]), [], "brokers: there are none"),
        ('{"partitions": [], "partitions": []}', TWO, "assignment.json: 'partitions' is there twice in one object"),
        (
            assignment([1]),
            '[{"id": 1, "weight": 2, "weight": 3}]',
            "brokers.json: 'weight' is there twice in one object",
        ),
    ],
)
def test_bad_files_are_refused_by_field(tmp_path: Path, partitions: Any, brokers: Any, says: str) -> None:
    assert problems_of_error(plan(tmp_path, partitions, brokers), 1, says) == []


@pytest.mark.parametrize(
    ("goal", "code", "says"),
    [
        ("balnce", 2, "no such goal: use one of balance, bytes, leaders"),
        ("balance:1", 2, "no such goal"),
        ("drain", 2, "drain takes ids of brokers, such as drain:1,2"),
        ("drain:1,", 2, "drain takes ids"),
        ("drain:one", 2, "drain takes ids"),
        pytest.param(f"drain:{'9' * 5000}", 2, "drain takes ids", id="drain-5000-digits"),
        pytest.param(f"replicas:{'9' * 5000}", 2, "replicas takes a number", id="replicas-5000-digits"),
        ("drain:2147483648", 2, "drain takes ids"),
        ("replicas:", 2, "replicas takes a number"),
        ("move-to:1", 2, "say which topics move with --topics"),
        ("replicas:0", 1, "0 is below 1: a partition has at least one"),
        ("drain:9", 1, "drain: no such brokers: 9; there are 1, 2"),
        ("drain:1,2", 1, "drain: no broker is left to take what they hold"),
        ("drain:2", 1, "t-0: 2 replicas need 2 brokers, 1 may have them (1): 1 too few"),
        ("replicas:3", 1, "t-0: 3 replicas need 3 brokers, 2 may have them (1, 2): 1 too few"),
        ("move-away:5", 1, "move-away: no such brokers: 5"),
        ("bytes", 1, "sizes: every partition has 0 bytes"),
    ],
)
def test_goals_that_make_no_sense_or_cannot_be_met(tmp_path: Path, goal: str, code: int, says: str) -> None:
    assert problems_of_error(plan(tmp_path, assignment([1, 2]), TWO, goal), code, says) == []


def test_kafkas_own_topics_are_planned_too(tmp_path: Path) -> None:
    assert plan(tmp_path, assignment([1], [1], topic="__consumer_offsets"), TWO).code == 0


def test_topics_have_to_be_meant_and_to_be_there(tmp_path: Path) -> None:
    files = ["--assignment", str(EXAMPLES / "assignment.json"), "--brokers", str(EXAMPLES / "brokers.json")]
    moved = run(["rebalance", "plan", *files, "--goal", "move-to:4,5,6", "--topics", "ord*", "-o", "json"])
    assert {one["topic"] for one in json.loads(moved.stdout)["reassignment"]["partitions"]} == {"orders"}
    none = run(["rebalance", "plan", *files, "--goal", "move-to:4,5,6", "--topics", "nope"])
    assert problems_of_error(none, 1, "--topics nope: no topic of the assignment") == []
    useless = run(["rebalance", "plan", *files, "--goal", "balance", "--topics", "ord*"])
    assert problems_of_error(useless, 2, "--topics is for move-to and replicas") == []


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([1], "not sizes"),
        ({"t-0": 1}, "t-1: its size is missing: give 0"),
        ({"t-0": 1, "t-1": 1, "t-2": 3}, "t-2: not a partition of the assignment"),
        ({"t-0": 1, "t-1": None}, "t-1: None is not a size"),
        ({"t-0": 1, "t-1": "1Qi"}, "'1Qi' is not a quantity"),
        ({"t-0": 1, "t-1": -5}, "'-5' is a negative size"),
        ({"t-0": 1, "t-1": 1e300}, "1e+300"),
        ('{"t-0": 1, "t-1": 1, "t-0": 2}', "'t-0' is there twice in one object: leave one"),
    ],
)
def test_bad_sizes_are_refused(tmp_path: Path, sizes: Any, says: str) -> None:
    done = plan(tmp_path, assignment([1], [2]), TWO, "balance", sizes=sizes)
    assert problems_of_error(done, 1, "sizes.json", says) == []


@pytest.mark.parametrize(
    ("allowed", "says"),
    [
        ([1], "not a list of what is allowed"),
        ({"t": []}, "t: [] is not a list of broker ids"),
        ({"t": ["1"]}, "t[0]: '1' is not a whole number"),
        ({"t": [1], "*": [2]}, "topic t is meant by t and by *"),
        ({"t": [9]}, "t-0: allowed on brokers that are not listed (9)"),
    ],
)
def test_bad_shards_are_refused(tmp_path: Path, allowed: Any, says: str) -> None:
    assert problems_of_error(plan(tmp_path, assignment([1]), TWO, "balance", allowed=allowed), 1, says) == []


def test_shards_are_kept(tmp_path: Path) -> None:
    brokers = [{"id": one} for one in (1, 2, 3)]
    done = plan(tmp_path, assignment([1], [1], [1], [1]), brokers, "balance", allowed={"t": [1, 2]})
    assert done.code == 0
    rows = [line.split()[:4] for line in done.stdout.splitlines()[3:]]
    assert rows == [["1", "-", "4", "2"], ["2", "-", "0", "2"], ["3", "-", "0", "0"]]


def test_a_pattern_of_allowed_that_means_no_topic_is_told(tmp_path: Path) -> None:
    """Mistyped it would let go of a shard without a word; of a tenant without topics it is right."""
    done = plan(tmp_path, assignment([1], [2]), TWO, "balance", allowed={"t": [1, 2], "chekcout.*": [1]})
    assert (done.code, done.stderr.count("\n")) == (0, 1)
    assert "--allowed chekcout.*: no topic of the assignment is meant" in done.stderr
    assert plan(tmp_path, assignment([1], [2]), TWO, "balance", allowed={"t": [1, 2]}).stderr == ""


def test_topics_are_moved_to_no_broker_that_they_are_not_allowed_on(tmp_path: Path) -> None:
    brokers = [{"id": one} for one in range(1, 7)]
    parts, allowed = assignment([1, 2], [2, 3]), {"t": [1, 2, 3, 4]}

    def moved(goal: str) -> Run:
        done = plan(tmp_path, parts, brokers, "leaders", allowed=allowed)
        assert done.code == 0, "the files are there, and make sense"
        names = ("assignment", "brokers", "allowed")
        files = [word for name in names for word in (f"--{name}", str(tmp_path / f"{name}.json"))]
        return run(["rebalance", "plan", *files, "--goal", goal, "--topics", "t", "-o", "reassignment"])

    found = json.loads(moved("move-to:3,4,5").stdout)["partitions"]
    assert [sorted(one["replicas"]) for one in found] == [[3, 4], [3, 4]]
    assert problems_of_error(moved("move-to:4,5,6"), 1, "t-0: 2 replicas need 2 brokers, 1 may have them (4)") == []


@pytest.mark.parametrize(
    ("capacity", "goal", "says"),
    [
        (150, "drain:1", "capacity: 50 bytes more than brokers 2, 3 can hold (300 bytes all together)"),
        (90, "balance", "t-0: each of its 1 replicas has 100 bytes, and only 0 brokers"),
        (199, "drain:1", "the nearest has"),
    ],
)
def test_capacity_that_cannot_hold_the_data_is_said_with_how_much(
    tmp_path: Path, capacity: int, goal: str, says: str
) -> None:
    """Of 3 brokers with 350 bytes. The last: 398 bytes hold 350, but partitions of 100, 100, 100 and 50 never fit."""
    brokers = [{"id": one, "capacity": capacity} for one in (1, 2, 3)]
    sizes = {"t-0": 100, "t-1": 100, "t-2": 100, "t-3": 50}
    done = plan(tmp_path, assignment([1], [2], [3], [1]), brokers, goal, sizes=sizes)
    assert problems_of_error(done, 1, says) == []


def test_capacities_that_nothing_is_held_against_are_said(tmp_path: Path) -> None:
    """Without sizes nobody knows what a broker would have to hold; an order of replicas takes no room."""
    brokers = [{"id": 1, "capacity": 10}, {"id": 2, "capacity": 10}]
    done = plan(tmp_path, assignment([1], [1]), brokers, "balance")
    said = "kfleet: capacities of brokers are not looked at: give --sizes, which they have to hold\n"
    assert (done.code, done.stderr) == (0, said)
    assert plan(tmp_path, assignment([1, 2], [1, 2]), brokers, "leaders").stderr == ""
    assert plan(tmp_path, assignment([1], [1]), TWO, "balance").stderr == ""
    assert plan(tmp_path, assignment([1], [1]), brokers, "balance", sizes={"t-0": 5, "t-1": 5}).stderr == ""


def test_to_make_room_others_move_too(tmp_path: Path) -> None:
    """Broker 2 has no room for 80 until its 30 are on broker 3, which has none for 80 either."""
    brokers = [{"id": 1, "capacity": 100}, {"id": 2, "capacity": 90}, {"id": 3, "capacity": 70}]
    sizes = {"t-0": 80, "t-1": 30, "t-2": 40}
    done = plan(tmp_path, assignment([1], [2], [3]), brokers, "drain:1", sizes=sizes)
    assert done.code == 0
    assert "drain:1: 2 replicas to be copied, 2 partitions, 110 bytes; no plan moves less" in done.stdout


def test_files_that_are_not_there(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.json")
    done = run(["rebalance", "plan", "--assignment", gone, "--brokers", gone, "--goal", "balance"])
    assert problems_of_error(done, 1, "gone.json: No such file or directory") == []


def test_the_reassignment_alone_is_what_kafkas_tool_takes(tmp_path: Path) -> None:
    files = ["--assignment", str(EXAMPLES / "assignment.json"), "--brokers", str(EXAMPLES / "brokers.json")]
    alone = run(["rebalance", "plan", *files, "--goal", "racks", "-o", "reassignment"])
    whole = run(["rebalance", "plan", *files, "--goal", "racks", "-o", "json"])
    assert json.loads(alone.stdout) == json.loads(whole.stdout)["reassignment"]
    assert json.loads(alone.stdout).keys() == {"version", "partitions"}
    wide = run(["rebalance", "plan", *files, "--goal", "racks", "-o", "wide"])
    assert "audit-0     1,4" in wide.stdout


def test_nothing_to_do_is_said_and_is_no_error(tmp_path: Path) -> None:
    done = plan(tmp_path, assignment([1, 2], [2, 1]), TWO)
    assert (done.code, done.stdout.splitlines()[0]) == (0, "balance: nothing to do")


def test_without_the_solver_a_plan_says_what_is_not_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap that is there without OR-tools and not with it; with --exact it is an error that says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    brokers = [{"id": 1, "rack": "a"}, {"id": 2, "rack": "a"}, {"id": 3, "rack": "b"}]
    done = plan(tmp_path, assignment([1, 2], [1, 3], [3]), brokers)
    said = (
        "kfleet: OR-tools is not installed, so nothing proves that this is the least (pip install 'kfleet[solver]')\n"
    )
    assert (done.code, done.stderr) == (0, said)
    assert "gap 1 replica" in done.stdout
    files = ["--assignment", str(tmp_path / "assignment.json"), "--brokers", str(tmp_path / "brokers.json")]
    refused = run(["rebalance", "plan", *files, "--goal", "balance", "--exact"])
    assert problems_of_error(refused, 1, "--exact: OR-tools is not installed", "the gap is") == []
    monkeypatch.undo()
    proven = run(["rebalance", "plan", *files, "--goal", "balance", "--exact"])
    assert (proven.code, proven.stderr) == (0, "")
    assert "no plan moves less" in proven.stdout


def test_an_unproven_plan_is_refused_where_it_has_to_be_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unproven(*question: Any) -> Proposal:
        answer = plan_rebalance(*question)
        assert isinstance(answer, Proposal)
        return Proposal(answer.moves, answer.bound - 1)

    monkeypatch.setattr(rebalance_plan, "plan_rebalance", unproven)
    files = ["--assignment", str(EXAMPLES / "assignment.json"), "--brokers", str(EXAMPLES / "brokers.json")]
    refused = run(["rebalance", "plan", *files, "--goal", "racks", "--exact"])
    assert problems_of_error(refused, 1, "1 replica more than what is proven to be needed") == []
    shown = run(["rebalance", "plan", *files, "--goal", "racks"])
    assert "at least 1 replica must be, gap 1 replica" in shown.stdout


def test_help_and_the_module_of_the_noun_import_no_planner() -> None:
    code = "import controlplane.cli.rebalance, sys; print([m for m in sys.modules if 'ortools' in m or 'domain' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
