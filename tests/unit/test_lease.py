"""The Lease with two holders and a clock that the test moves."""

import asyncio
from dataclasses import dataclass

import pytest
from support.fake_kube import FakeKube

from controlplane.ports import Object, UnreachableError
from controlplane.services.lease import LEASES, LeaseHolder, LeaseLostError


@dataclass
class ManualClock:
    seconds: float = 1000.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.seconds

    def monotonic(self) -> float:
        return self.seconds


def holder(kube: FakeKube, clock: ManualClock, identity: str) -> LeaseHolder:
    return LeaseHolder(
        kube=kube,
        clock=clock,
        namespace="kfleet",
        name="operator",
        identity=identity,
        duration=10.0,
        renew_interval=0.01,
    )


async def held_by(kube: FakeKube) -> str:
    return (await kube.get(LEASES, "operator", "kfleet"))["spec"]["holderIdentity"]


async def test_one_holder_at_a_time_and_the_same_identity_at_once_again() -> None:
    kube, clock = FakeKube(), ManualClock()
    first = holder(kube, clock, "a")
    await first.acquire()
    assert first.sure()
    second = asyncio.create_task(holder(kube, clock, "b").acquire())
    async with asyncio.timeout(60):
        await holder(kube, clock, "a").acquire()
    assert not second.done()
    assert await held_by(kube) == "a"
    second.cancel()


async def test_another_takes_over_after_a_whole_duration_without_renewal() -> None:
    kube, clock = FakeKube(), ManualClock()
    first = holder(kube, clock, "a")
    await first.acquire()
    second = holder(kube, clock, "b")
    assert await second._try() == "a"
    clock.seconds += 9.9
    assert await second._try() == "a"
    clock.seconds += 0.3
    assert await second._try() is None
    assert not first.sure(), "the first must know by its own clock, without asking anyone"
    with pytest.raises(LeaseLostError):
        await first.hold()


async def test_renewal_keeps_others_out() -> None:
    kube, clock = FakeKube(), ManualClock()
    first, second = holder(kube, clock, "a"), holder(kube, clock, "b")
    await first.acquire()
    for _ in range(5):
        assert await second._try() == "a"
        clock.seconds += 8
        assert await first._try() is None
    assert await second._try() == "a"


async def test_a_holder_that_cannot_renew_stops_being_sure() -> None:
    kube, clock = FakeKube(), ManualClock()
    first = holder(kube, clock, "a")
    await first.acquire()

    async def unreachable(*_: object, **__: object) -> Object:
        raise UnreachableError(0, "Unreachable", "planted")

    kube.get = unreachable  # type: ignore[method-assign]
    clock.seconds += 10.1
    assert not first.sure()
    with pytest.raises(LeaseLostError):
        await first.hold()


async def test_release_lets_a_successor_in_at_once() -> None:
    kube, clock = FakeKube(), ManualClock()
    first = holder(kube, clock, "a")
    await first.acquire()
    await first.release()
    assert await holder(kube, clock, "b")._try() is None
    assert await held_by(kube) == "b"
