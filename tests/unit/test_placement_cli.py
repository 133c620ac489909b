"""`kfleet placement simulate`: its JSON, what it refuses and with which code, history, and the docs' figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli_tree import Run, problems_of_error, run
from support.shard_oracle import faults, spread

from controlplane.cli import placement_simulate
from controlplane.domain.placement.packings import largest_packing

ZONED = ("--zones", "3", "--brokers-per-zone", "6", "--shard-size", "3", "--max-overlap", "1")


def simulate(*arguments: str) -> Run:
    return run(["placement", "simulate", *arguments])


def document(*arguments: str) -> dict[str, Any]:
    done = simulate(*arguments, "-o", "json")
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_optimum_of_three_zones_of_six() -> None:
    found = document(*ZONED, "--tenants", "36")
    shards = list(found["shards"].values())
    zone_of = {broker["id"]: broker["rack"] for broker in found["brokers"]}
    assert list(found["shards"]) == [f"tenant-{at}" for at in range(36)]
    assert faults(shards, size=3, overlap=1, brokers=range(18), zone_of=zone_of) == []
    assert (found["maxOverlap"], found["bound"], found["gap"], found["capacity"]) == (1, 36, 0, 36)
    assert found["overlapHistogram"] == {"0": 360, "1": 270}
    assert set(found["load"].values()) == {6}
    assert found["blastRadius"] == {
        "bad": 1,
        "random": {"touched": 0.421296296, "covered": 0.00462963},
        "randomOverlap": [0.578703704, 0.347222222, 0.069444444, 0.00462963],
        "measured": {"touched": 0.428571429, "covered": 0.0},
        "alwaysSurvived": 2,
    }


@pytest.mark.parametrize("tenants", range(1, 37))
def test_any_number_of_tenants_is_level(tenants: int) -> None:
    found = document(*ZONED, "--tenants", str(tenants))
    shards = list(found["shards"].values())
    assert faults(shards, size=3, overlap=1, brokers=range(18)) == []
    assert spread(shards, range(18)) <= 1


def test_too_many_tenants_say_how_many_fit_unless_they_may_overlap() -> None:
    done = simulate(*ZONED, "--tenants", "37", "-o", "json")
    assert problems_of_error(done, 1, "37 tenants do not fit", "room for 36", "--allow-overlap") == []
    found = document(*ZONED, "--tenants", "37", "--allow-overlap")
    assert (found["maxOverlap"], found["overlapBound"], len(found["shards"])) == (2, 2, 37)
    assert spread(found["shards"].values(), range(18)) <= 1


def test_plain_brokers() -> None:
    found = document("--brokers", "13", "--shard-size", "4", "--tenants", "13")
    assert faults(found["shards"].values(), size=4, overlap=1, brokers=range(13)) == []
    assert found["bound"] == 13
    assert {broker["rack"] for broker in found["brokers"]} == {""}, "they have no zones"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--brokers", "5", "--shard-size", "6"), 1, "a shard of 6 brokers needs 1 more than the 5 there are"),
        (("--zones", "3", "--brokers-per-zone", "5,5,1", "--shard-size", "6"), 1, "has 1: 1 too few"),
        (("--zones", "3", "--brokers-per-zone", "2,1,1", "--shard-size", "5"), 1, "needs 1 more than the 4"),
        (
            ("--zones", "3", "--brokers-per-zone", "4,1,1", "--shard-size", "5"),
            1,
            "2 of 3 zones, and 1 have that many: 1 too few",
        ),
        (("--brokers", "9", "--max-overlap", "3"), 2, "max overlap: 3 is not between 0 and 2"),
        (("--brokers", "9", "--max-overlap", "-1"), 2, "max overlap: -1 is not between 0 and 2"),
        (("--brokers", "9", "--shard-size", "0"), 2, "shard size: 0"),
        (("--brokers", "999", "--shard-size", "129"), 2, "--shard-size: 129 is more than 128"),
        (("--brokers", ""), 2, "--brokers: '' is not a number"),
        (("--brokers", "0"), 2, "--brokers: '0' is not a number between 1"),
        (("--brokers", "99999999999999999999"), 2, "--brokers"),
        (("--brokers", "9", "--zones", "3"), 2, "either --brokers, or --zones"),
        ((), 2, "either --brokers, or --zones"),
        (("--zones", "3"), 2, "--zones and --brokers-per-zone go together"),
        (("--zones", "3", "--brokers-per-zone", "2,2"), 2, "2 numbers for 3 zones"),
        (("--zones", "0", "--brokers-per-zone", "2"), 2, "--zones: 0 is not between"),
        (("--zones", "3", "--brokers-per-zone", "two"), 2, "'two' is not a number"),
        (("--brokers", "9", "--bad", "9"), 2, "--bad: 9 is not between 1 and 8"),
        (("--brokers", "9", "--repack"), 2, "--from FILE"),
        (("--brokers", "nowhere.json"), 1, "nowhere.json: No such file"),
    ],
)
def test_what_cannot_be_met_is_said_with_by_how_much(arguments: tuple[str, ...], code: int, says: str) -> None:
    assert problems_of_error(simulate(*arguments, "--tenants", "9"), code, says) == []


def test_no_tenants_are_none() -> None:
    assert problems_of_error(simulate("--brokers", "9", "--tenants", "0"), 2, "--tenants: 0 is not between 1") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "brokers.json: not JSON: line 1 column 2"),
        pytest.param("[" * 100_000, "brokers.json: not JSON: ", id="deep"),
        ("{}", "brokers.json: not a list of brokers"),
        ("[]", "there are none"),
        ("[1]", "brokers.json: [0]: 1 is not an object"),
        ('[{"id": "one"}]', "[0].id: 'one' is not a whole number from 0 to 2147483647"),
        ('[{"id": true}]', "[0].id: True is not a whole number"),
        ('[{"id": -1}]', "[0].id: -1 is not a whole number"),
        ('[{"id": 2147483648}]', "[0].id: 2147483648 is not a whole number"),
        ('[{"id": 1}, {"id": 1}]', "id 1 stands there twice"),
        (
            '[{"id": 1, "weight": 0}]',
            "weight of broker 1: 0 is no weight; it is above 0 (leave a broker out that shall",
        ),
        ('[{"id": 1, "weight": -2}]', "weight of broker 1: -2 is no weight; it is above 0"),
        pytest.param(
            f'[{{"id": 1, "weight": {10**400}}}]', "[0].weight: not above 0 and at most 1000000000", id="much"
        ),
        pytest.param(
            f'[{{"id": 1, "weight": {-(10**400)}}}]', "[0].weight: not above 0 and at most 1000000000", id="little"
        ),
        ('[{"id": 1, "weight": Infinity}]', "[0].weight: not above 0 and at most 1000000000"),
        ('[{"id": 1, "weight": NaN}]', "weight of broker 1: nan is no weight"),
        ('[{"id": 1, "weight": "1"}]', "[0].weight: '1' is not a number"),
        ('[{"id": 1, "rack": 3}]', "[0].rack: 3 is not text: put it in quotes"),
        ('[{"id": 1, "zone": "a"}]', "[0].zone: no such field; a broker has id, rack, weight, capacity"),
    ],
)
def test_a_file_of_brokers_that_is_none(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "brokers.json"
    file.write_text(text)
    done = simulate("--brokers", str(file), "--shard-size", "1", "--max-overlap", "0", "--tenants", "1")
    assert problems_of_error(done, 1, says) == []


def test_the_file_of_brokers_is_that_of_a_rebalance(tmp_path: Path) -> None:
    """Capacities are nothing to shards, and no mistake."""
    file = tmp_path / "brokers.json"
    file.write_text(json.dumps([{"id": at, "rack": "abc"[at], "capacity": "2Ti"} for at in range(3)]))
    asked = ("--brokers", str(file), "--tenants", "1")
    assert document(*asked)["shards"] == {"tenant-0": [0, 1, 2]}
    file.write_text(json.dumps([{"id": 1, "capacity": "much"}]))
    assert problems_of_error(simulate(*asked), 1, "[0].capacity: 'much' is not a quantity") == []


def test_racks_on_some_brokers_only_are_refused(tmp_path: Path) -> None:
    """As `kfleet rebalance plan` does: they are no zone of their own."""
    file = tmp_path / "brokers.json"
    file.write_text(json.dumps([{"id": 1, "rack": "a"}, {"id": 2}, {"id": 3, "rack": "b"}, {"id": 4, "rack": None}]))
    says = "brokers.json: some brokers have a rack and 2, 4 none: give a rack to all of them, or to none"
    assert problems_of_error(simulate("--brokers", str(file), "--shard-size", "2", "--tenants", "1"), 1, says) == []
    file.write_text(json.dumps([{"id": 1}, {"id": 2}]))
    assert simulate("--brokers", str(file), "--shard-size", "2", "--tenants", "1").code == 0


def test_the_largest_number_that_fits_is_one_number() -> None:
    asked = ("--zones", "4", "--brokers-per-zone", "2", "--shard-size", "3", "--max-overlap", "1")
    assert problems_of_error(simulate(*asked, "--tenants", "9"), 1, "these brokers have room for 8 shards") == []
    for tenants in ("4", "8"):
        found = document(*asked, "--tenants", tenants)
        assert (found["capacity"], found["bound"], found["gap"]) == (8, 8, 0)


def test_weights_of_a_file_decide_loads(tmp_path: Path) -> None:
    file = tmp_path / "brokers.json"
    brokers = [{"id": at, "rack": "abc"[at % 3], "weight": 2.0 if at < 3 else 1} for at in range(12)]
    file.write_text(json.dumps(brokers))
    found = document("--brokers", str(file), "--tenants", "20", "--max-overlap", "2")
    assert [found["load"][str(at)] for at in range(12)] == [8] * 3 + [4] * 9


def test_history_moves_nobody_and_a_broker_that_goes_moves_one_of_a_shard(tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(simulate("--zones", "3", "--brokers-per-zone", "6", "--tenants", "20", "-o", "json").stdout)
    old = json.loads(before.read_text())
    more = document("--zones", "3", "--brokers-per-zone", "6", "--tenants", "24", "--from", str(before))
    assert more["placed"] == ["tenant-20", "tenant-21", "tenant-22", "tenant-23"]
    assert (more["moved"], {name: more["shards"][name] for name in old["shards"]}) == ([], old["shards"])
    assert faults(more["shards"].values(), size=3, overlap=1, brokers=range(18)) == []

    left = tmp_path / "left.json"
    left.write_text(json.dumps([broker for broker in old["brokers"] if broker["id"] != 4]))
    after = document("--brokers", str(left), "--tenants", "20", "--from", str(before), "--repack")
    changed = {move["tenant"] for move in after["moved"]}
    assert changed == {name for name, shard in old["shards"].items() if 4 in shard}
    for name, shard in old["shards"].items():
        assert len(set(shard) - set(after["shards"][name])) == (name in changed)
    assert after["repack"]["maxOverlap"] <= after["maxOverlap"]


def test_fewer_tenants_than_a_history_has_are_refused(tmp_path: Path) -> None:
    """Nobody is taken away, so that the answer would be about more tenants than were asked for."""
    before = tmp_path / "before.json"
    before.write_text(simulate(*ZONED, "--tenants", "20", "-o", "json").stdout)
    done = simulate(*ZONED, "--tenants", "3", "--from", str(before))
    assert problems_of_error(done, 2, "--tenants: 3 is less than the 20 that", "say 20 or more") == []
    assert document(*ZONED, "--tenants", "20", "--from", str(before))["placed"] == []


def test_shards_of_other_sizes_in_a_history_are_judged_as_they_are(tmp_path: Path) -> None:
    """Two of four brokers that share all, and one of two: the smallest says what is survived, those alike what is
    proven."""
    before = tmp_path / "before.json"
    shards = {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": [3, 4]}
    before.write_text(json.dumps({"shards": shards, "brokers": [{"id": one} for one in range(8)]}))
    asked = ("--brokers", "8", "--shard-size", "2", "--from", str(before), "--tenants", "4")
    found = document(*asked)
    assert (found["overlapHistogram"]["4"], found["overlapBound"]) == (1, 0), "two pairs of brokers can be apart"
    assert found["blastRadius"]["alwaysSurvived"] == 0
    rows = simulate(*asked).stdout.split("shared by two tenants\n")[1].split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "fleet",
    [
        ("--brokers", "1000", "--shard-size", "4"),
        ("--zones", "1200", "--brokers-per-zone", "2", "--shard-size", "1", "--max-overlap", "0", "--allow-overlap"),
    ],
    ids=["brokers", "zones"],
)
def test_large_fleets_are_no_trouble(fleet: tuple[str, ...]) -> None:
    done = simulate(*fleet, "--tenants", "3000" if "--zones" in fleet else "50", "-o", "name")
    assert (done.code, done.stderr) == (0, "")


def test_brokers_that_are_numbered_anew_are_no_history(tmp_path: Path) -> None:
    """One more in every zone: 6 was the first of zone b, and would be the last of zone a."""
    before = tmp_path / "before.json"
    before.write_text(simulate(*ZONED, "--tenants", "3", "-o", "json").stdout)
    done = simulate("--zones", "3", "--brokers-per-zone", "7", "--tenants", "3", "--from", str(before))
    assert problems_of_error(done, 1, "before.json: broker 6 is in zone b there, and in zone a here", "in a file") == []


def test_history_that_is_full_takes_nobody_in(tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(simulate(*ZONED, "--tenants", "36", "-o", "json").stdout)
    done = simulate(*ZONED, "--tenants", "37", "--from", str(before))
    assert problems_of_error(done, 1, "only 36 of 37 tenants fit without moving anybody") == []
    taken = document(*ZONED, "--tenants", "37", "--from", str(before), "--allow-overlap")
    assert (taken["maxOverlap"], taken["placed"]) == (2, ["tenant-36"])


@pytest.mark.parametrize(
    ("size", "new"), [(6, "cccc"), (5, "cccc"), (6, "cd"), (7, "cccc"), (7, "ccdd"), (4, "c"), (6, "cca")]
)
def test_a_zone_that_is_new_comes_in_whole(size: int, new: str, tmp_path: Path) -> None:
    """One after the other its brokers would be too few for their part of a shard."""
    rule = ("--tenants", "3", "--shard-size", str(size), "--max-overlap", str(size - 1))
    before, brokers = tmp_path / "before.json", tmp_path / "brokers.json"
    before.write_text(simulate("--zones", "2", "--brokers-per-zone", "4", *rule, "-o", "json").stdout)
    old = json.loads(before.read_text())
    fleet = old["brokers"] + [{"id": 8 + at, "rack": zone} for at, zone in enumerate(new)]
    brokers.write_text(json.dumps(fleet))
    found = document("--brokers", str(brokers), *rule, "--from", str(before))
    zone_of = {broker["id"]: broker["rack"] for broker in fleet}
    assert faults(found["shards"].values(), size=size, overlap=size - 1, brokers=zone_of, zone_of=zone_of) == []
    now = {tenant: set(shard) for tenant, shard in old["shards"].items()}
    for move in found["moved"]:
        assert (now[move["tenant"]], len(set(move["after"]) - set(move["before"]))) == (set(move["before"]), 1)
        now[move["tenant"]] = set(move["after"])
    assert now == {tenant: set(shard) for tenant, shard in found["shards"].items()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "is no output of"),
        ('{"shards": {}}', "is no output of"),
        ('{"shards": [], "brokers": [{"id": 2}]}', "is no output of"),
        ('{"shards": {"a": [1]}, "brokers": [{"id": 2}]}', "shards.a: broker 1 is not among its brokers"),
        (
            json.dumps({"shards": {"a": [*range(129)]}, "brokers": [{"id": one} for one in range(129)]}),
            "shards.a: it has 129 brokers, 1 more than a shard may",
        ),
        (
            '{"shards": {"a": [1]}, "brokers": [{"id": 1, "weight": 0}]}',
            "weight of broker 1: 0 is no weight; it is above 0",
        ),
        ('{"shards": {"a": [1]}, "brokers": [{"id": 1, "rack": 7}]}', "before.json: brokers[0].rack: 7 is not text"),
        ('{"shards": {"a": [1]}, "brokers": 7}', "before.json: brokers: not a list of brokers"),
        ('{"shards": {"a": [1]}, "brokers": [{"id": 1}, {"id": 1}]}', "id 1 stands there twice"),
        ('{"shards": {"a": [1, 1]}, "brokers": [{"id": 1}]}', "shards.a: broker 1 is there twice"),
        ('{"shards": {"a": [1], "a": [2]}, "brokers": [{"id": 1}, {"id": 2}]}', "'a' is there twice in one object"),
        ("{", "before.json: not JSON: line 1 column 2"),
        pytest.param("[" * 100_000, "before.json: not JSON: ", id="deep"),
        *(
            (
                f'{{"shards": {{"a": {shard}}}, "brokers": [{{"id": 1}}, {{"id": 2}}]}}',
                "shards.a is no list of broker ids",
            )
            for shard in ('"12"', "[1.9, 2]", '["1"]', '{"1": 2}', "[true]", "[[1]]", "[]", "null", "1")
        ),
    ],
)
def test_a_history_that_is_none(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "before.json"
    file.write_text(text)
    assert problems_of_error(simulate(*ZONED, "--tenants", "3", "--from", str(file)), 1, says) == []


def test_without_the_solver_a_construction_is_taken_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("--brokers", "22", "--shard-size", "4", "--tenants", "34")
    monkeypatch.setattr(placement_simulate, "find_spec", lambda name: None)
    most = largest_packing(22, 4, 1).count
    assert most < 34
    done = simulate(*asked)
    assert problems_of_error(done, 1, f"{most} shards of 4", "kfleet[solver] is not installed") == []
    fits = simulate("--brokers", "22", "--shard-size", "4", "--tenants", "30")
    assert "search      not made: kfleet[solver] is not installed" in fits.stdout


def test_the_table_is_for_people() -> None:
    shown = simulate(*ZONED, "--tenants", "36").stdout
    assert "36 shards of 3 that share at most 1: the most there can be" in shown
    assert "any 2 misbehaving leave every other tenant a broker" in shown
    assert "tenant-35" in shown
    many = simulate("--zones", "3", "--brokers-per-zone", "9", "--tenants", "50").stdout
    assert "and 10 more: -o wide shows all" in many
    wide = simulate("--zones", "3", "--brokers-per-zone", "9", "--tenants", "50", "-o", "wide").stdout
    assert "tenant-49" in wide
