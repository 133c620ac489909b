"""What `kfleet placement simulate` works out, as one value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from controlplane.api.kafka_tenant import MAX_SHARD
from controlplane.cli.brokers_file import ListedBroker, brokers_of, read_brokers
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.json_file import read_json
from controlplane.domain.placement.blast import Blast, always_survived, measured_blast, random_blast, random_overlap
from controlplane.domain.placement.changes import Change, Repack, join, leave, repack
from controlplane.domain.placement.fresh import TooManyTenantsError, assign, room
from controlplane.domain.placement.measure import mean_overlap, overlap_histogram
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import (
    BadInputError,
    Broker,
    Fleet,
    PlacementError,
    Searched,
    Shard,
    ShardRule,
    ShardSearch,
    even_fleet,
    loads,
    shape,
)
from controlplane.domain.rolling.health import listing

MOST_BROKERS = 10_000
MOST_TENANTS = 1_000_000


@dataclass(frozen=True)
class Question:
    fleet: Fleet
    tenants: int
    shard_size: int
    max_overlap: int
    bad: int
    allow_overlap: bool


@dataclass(frozen=True)
class Reach:
    """What a fresh assignment of the brokers could reach: see `Simulation`."""

    capacity: int
    bound: int
    overlap_bound: int


@dataclass(frozen=True)
class Simulation:
    """`bound` and `capacity` are what a fresh assignment of these brokers could reach at most, and does. Tenants with
    history may have shards of another size than the rule's. `random` and `measured` are for `bad` tenants."""

    fleet: Fleet
    rule: ShardRule
    bad: int
    shards: Mapping[str, Shard]
    construction: str
    capacity: int
    bound: int
    overlap_bound: int
    histogram: Mapping[int, int]
    chances: Sequence[float] | None
    random: Blast | None
    measured: Blast | None
    survives: int | None
    solver: bool
    changes: tuple[Change, ...] = ()
    placed: tuple[str, ...] = ()
    repack: Repack | None = None

    @property
    def worst(self) -> int:
        return max(self.histogram, default=0)

    @property
    def mean(self) -> float:
        return mean_overlap(dict(self.histogram))

    @property
    def load(self) -> dict[int, int]:
        return loads(self.fleet, self.shards.values())


def fleet_of(brokers: str | None, zones: int | None, per_zone: str | None) -> Fleet:
    """Raises typer.BadParameter for options that do not name brokers, OSError and CliError for a file."""
    if (brokers is None) == (zones is None and per_zone is None):
        raise CliError("say either --brokers, or --zones with --brokers-per-zone", ExitCode.USAGE)
    if brokers is None:
        return _zoned(zones, per_zone)
    if brokers and not brokers.removeprefix("-").isdecimal():
        return _listed(read_brokers(Path(brokers)), Path(brokers))
    return Fleet(tuple(Broker(at) for at in range(_number(brokers, "--brokers", MOST_BROKERS))))


def _zoned(zones: int | None, per_zone: str | None) -> Fleet:
    if zones is None or per_zone is None:
        raise CliError("--zones and --brokers-per-zone go together", ExitCode.USAGE)
    if not 1 <= zones <= MOST_BROKERS:
        raise typer.BadParameter(f"{zones} is not between 1 and {MOST_BROKERS}", param_hint="--zones")
    counts = [_number(word, "--brokers-per-zone", MOST_BROKERS // zones) for word in per_zone.split(",")]
    if len(counts) not in (1, zones):
        problem = f"it gives {len(counts)} numbers for {zones} zones; give one for all or one for each"
        raise typer.BadParameter(problem, param_hint="--brokers-per-zone")
    sizes = counts * zones if len(counts) == 1 else counts
    names = list(even_fleet(zones, 1).zones)
    numbered = [zone for zone, size in zip(names, sizes, strict=True) for _ in range(size)]
    return Fleet(tuple(Broker(at, zone) for at, zone in enumerate(numbered)))


def _number(word: str, option: str, most: int) -> int:
    if not word.isdecimal() or not 1 <= int(word[:9]) <= most or len(word) > 9:
        raise typer.BadParameter(f"{word!r} is not a number between 1 and {most}", param_hint=option)
    return int(word)


def _listed(brokers: Sequence[ListedBroker], file: Path) -> Fleet:
    try:
        fleet = Fleet(tuple(Broker(broker.id, broker.rack or "", broker.weight) for broker in brokers))
    except BadInputError as error:
        raise CliError(f"{file}: {error}") from None
    bare = [broker.id for broker in brokers if not broker.rack]
    if 0 < len(bare) < len(brokers):
        problem = f"some brokers have a rack and {listing(bare)} none"
        raise CliError(f"{file}: {problem}: give a rack to all of them, or to none")
    return fleet


def simulated(question: Question, history: Path | None, *, repack: bool) -> Simulation:
    """Raises CliError: 1 where it does not fit or a file is no history, 2 where the numbers mean nothing."""
    if not 1 <= question.tenants <= MOST_TENANTS:
        raise typer.BadParameter(f"{question.tenants} is not between 1 and {MOST_TENANTS}", param_hint="--tenants")
    if question.shard_size > MAX_SHARD:
        raise typer.BadParameter(f"{question.shard_size} is more than {MAX_SHARD}", param_hint="--shard-size")
    if not 1 <= question.bad <= question.tenants - (question.tenants > 1):
        most = max(question.tenants - 1, 1)
        raise typer.BadParameter(
            f"{question.bad} is not between 1 and {most}: one tenant at least behaves", param_hint="--bad"
        )
    if repack and history is None:
        raise CliError("--repack asks what others would have: it needs their shards, by --from FILE", ExitCode.USAGE)
    try:
        rule = ShardRule(question.shard_size, question.max_overlap)
        if history is None:
            return _fresh(question, rule)
        return _continued(question, rule, history, offer=repack)
    except BadInputError as error:
        raise CliError(str(error), ExitCode.USAGE) from None
    except TooManyTenantsError as error:
        hint = (
            ""
            if solver_installed() or error.fit == error.bound
            else " (kfleet[solver] is not installed: no search was made)"
        )
        raise CliError(f"{error}{hint}, or --allow-overlap") from None
    except PlacementError as error:
        raise CliError(str(error)) from None


def _fresh(question: Question, rule: ShardRule) -> Simulation:
    names = [f"tenant-{number}" for number in range(question.tenants)]
    found = assign(question.fleet, rule, names, allow_overlap=question.allow_overlap, search=shard_search())
    reach = Reach(found.capacity, found.bound, found.least_worst)
    return _measured(question, rule, found.shards, found.construction, reach)


def _continued(question: Question, rule: ShardRule, history: Path, *, offer: bool) -> Simulation:
    """Shards as they were, changed for brokers that have gone and come, and then more tenants one by one."""
    before, shards = _history(history)
    if question.tenants < len(shards):
        problem = f"{question.tenants} is less than the {len(shards)} that {history} has, and nobody is taken away"
        raise typer.BadParameter(f"{problem}: say {len(shards)} or more", param_hint="--tenants")
    for broker in question.fleet.brokers:
        if (was := before.by_id.get(broker.id, broker).zone) != broker.zone:
            problem = f"broker {broker.id} is in {_zone(was)} there, and in {_zone(broker.zone)} here"
            raise CliError(f"{history}: {problem}: one that has moved is another broker; list all of them in a file")
    held = (
        Held(tenant, shard, ShardRule(len(shard), min(rule.max_overlap, len(shard) - 1)))
        for tenant, shard in shards.items()
    )
    occupancy = Occupancy(before, held)
    changes: list[Change] = []
    newcomers = [broker for broker in question.fleet.brokers if broker.id not in before.by_id]
    for broker in newcomers:
        if broker.zone in before.zones:
            changes += join(occupancy, broker)
    changes += join(occupancy, *(broker for broker in newcomers if broker.zone not in before.zones))
    for broker_id in sorted(set(before.by_id) - set(question.fleet.by_id)):
        changes += leave(occupancy, broker_id)
    occupancy.change_fleet(question.fleet)
    names = (f"tenant-{number}" for number in range(len(shards) + question.tenants))
    placed: list[str] = []
    while len(occupancy.held) < question.tenants:
        tenant = next(name for name in names if name not in occupancy.held)
        placement = occupancy.place(tenant, rule)
        if not placement.within and not question.allow_overlap:
            problem = f"only {len(occupancy.held) - 1} of {question.tenants} tenants fit without moving anybody"
            raise CliError(f"{problem}: --allow-overlap lets others share more, --repack says what moving would do")
        placed.append(tenant)
    there = room(question.fleet, rule, shard_search())
    alike = sum(len(held.shard) == rule.size for held in occupancy.held.values())
    reach = Reach(there.capacity, there.bound, there.least_worst(alike))
    now = {held.tenant: held.shard for held in occupancy.held.values()}
    offered = repack(occupancy, rule, search=shard_search()) if offer else None
    how = "as they were, then one by one"
    return _measured(question, rule, now, how, reach, changes=changes, placed=placed, offer=offered)


def _zone(name: str) -> str:
    return f"zone {name}" if name else "no zone"


def _history(file: Path) -> tuple[Fleet, dict[str, Shard]]:
    """Raises OSError, and CliError for a file that is no earlier output."""
    document = read_json(file)
    if not isinstance(document, dict) or "brokers" not in document or not isinstance(document.get("shards"), dict):
        raise CliError(f"{file} is no output of `kfleet placement simulate -o json`: it lacks brokers or shards")
    fleet = _listed(brokers_of(document["brokers"], f"{file}: brokers"), file)
    return fleet, {tenant: _shard(ids, fleet, f"{file}: shards.{tenant}") for tenant, ids in document["shards"].items()}


def _shard(ids: Any, fleet: Fleet, where: str) -> Shard:
    if not isinstance(ids, list) or not ids or any(type(one) is not int for one in ids):
        raise CliError(f"{where} is no list of broker ids, such as [1, 2, 3]")
    if strange := [one for one in ids if one not in fleet.by_id]:
        raise CliError(f"{where}: broker {strange[0]} is not among its brokers")
    if twice := [one for one, count in Counter(ids).items() if count > 1]:
        raise CliError(f"{where}: broker {twice[0]} is there twice")
    if len(ids) > MAX_SHARD:
        raise CliError(f"{where}: it has {len(ids)} brokers, {len(ids) - MAX_SHARD} more than a shard may")
    return tuple(sorted(ids))


def _measured(
    question: Question,
    rule: ShardRule,
    shards: Mapping[str, Shard],
    construction: str,
    reach: Reach,
    *,
    changes: Sequence[Change] = (),
    placed: Sequence[str] = (),
    offer: Repack | None = None,
) -> Simulation:
    zones = shape(question.fleet, rule.size)
    listed = list(shards.values())
    histogram = overlap_histogram(listed)
    try:
        chances, random = random_overlap(zones, rule.size), random_blast(zones, rule.size, question.bad)
    except ValueError:
        chances, random = None, None
    return Simulation(
        fleet=question.fleet,
        rule=rule,
        bad=question.bad,
        shards=shards,
        construction=construction,
        capacity=reach.capacity,
        bound=reach.bound,
        overlap_bound=reach.overlap_bound,
        histogram=histogram,
        chances=chances,
        random=random,
        measured=measured_blast(listed, question.bad),
        survives=always_survived(min(map(len, listed)), max(histogram, default=0)),
        solver=solver_installed(),
        changes=tuple(changes),
        placed=tuple(placed),
        repack=offer,
    )


def solver_installed() -> bool:
    return find_spec("ortools") is not None


def shard_search() -> ShardSearch | None:
    """Exact search, loaded when it is asked for the first time; None without the extra kfleet[solver]."""
    if not solver_installed():
        return None

    def search(candidates: Sequence[Shard], max_overlap: int, want: int) -> Searched:
        from controlplane.bootstrap import shard_search as wired  # noqa: PLC0415 - a second of imports

        return wired()(candidates, max_overlap, want)

    return search


def document_of(simulation: Simulation) -> dict[str, Any]:
    """What `-o json` prints. Probabilities have nine decimals."""
    offer = simulation.repack
    return {
        "shards": {tenant: list(shard) for tenant, shard in simulation.shards.items()},
        "tenants": len(simulation.shards),
        "shardSize": simulation.rule.size,
        "allowedOverlap": simulation.rule.max_overlap,
        "maxOverlap": simulation.worst,
        "overlapBound": simulation.overlap_bound,
        "expectedOverlap": round(simulation.mean, 9),
        "overlapHistogram": {str(shared): pairs for shared, pairs in simulation.histogram.items()},
        "capacity": simulation.capacity,
        "bound": simulation.bound,
        "gap": simulation.bound - simulation.capacity,
        "construction": simulation.construction,
        "exactSearch": simulation.solver,
        "load": {str(broker): count for broker, count in simulation.load.items()},
        "blastRadius": {
            "bad": simulation.bad,
            "random": _blast(simulation.random),
            "randomOverlap": None
            if simulation.chances is None
            else [round(chance, 9) for chance in simulation.chances],
            "measured": _blast(simulation.measured),
            "alwaysSurvived": simulation.survives,
        },
        "moved": [_move(change.tenant, change.before, change.after) for change in simulation.changes],
        "placed": list(simulation.placed),
        "repack": None
        if offer is None
        else {
            "better": offer.better,
            "maxOverlap": max(offer.overlaps_then, default=0),
            "brokersMoved": offer.brokers_moved,
            "moves": [_move(tenant, before, after) for tenant, before, after in offer.moves],
        },
        "brokers": [
            {"id": broker.id, "rack": broker.zone, "weight": broker.weight} for broker in simulation.fleet.brokers
        ],
    }


def _blast(blast: Blast | None) -> dict[str, float] | None:
    return None if blast is None else {"touched": round(blast.touched, 9), "covered": round(blast.covered, 9)}


def _move(tenant: str, before: Shard, after: Shard) -> dict[str, Any]:
    return {"tenant": tenant, "before": list(before), "after": list(after)}
