"""What every implementation of ports.DelayGauge must do. Subclasses provide the fixtures `gauge` and `stand`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from controlplane.domain.shedding.measure import saturations
from controlplane.ports import DelayGauge

LOOKS = 2000
KEY = "test/gauge"


class Stand(Protocol):
    """Brokers 1 and 2, and what can happen to them."""

    @property
    def brokers(self) -> Mapping[int, tuple[str, int]]: ...

    def slow(self, broker: int, seconds: float) -> None:
        """Requests wait there for so long from now on."""
        ...

    async def stop(self, broker: int) -> None: ...

    async def start(self, broker: int) -> None: ...

    def now(self) -> float:
        """As samples have it."""
        ...

    async def pause(self) -> None:
        """A moment between two looks."""
        ...


class DelayGaugeContract:
    @staticmethod
    async def seen(
        gauge: DelayGauge, stand: Stand, condition: Callable[[Mapping[int, float]], bool]
    ) -> Mapping[int, float]:
        """Looks until saturations are as they should be."""
        found: Mapping[int, float] = {}
        for _ in range(LOOKS):
            found = saturations(await gauge.look(KEY, stand.brokers), stand.now())
            if condition(found):
                return found
            await stand.pause()
        raise AssertionError(f"it came to {found}")

    async def test_brokers_at_rest(self, gauge: DelayGauge, stand: Stand) -> None:
        found = await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        assert max(found.values()) < 0.5

    async def test_a_slow_broker_is_told_from_the_other(self, gauge: DelayGauge, stand: Stand) -> None:
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        stand.slow(1, 0.6)
        found = await self.seen(gauge, stand, lambda found: found.get(1, 0.0) > 0.5)
        assert found[2] < 0.5
        stand.slow(1, 0.0)
        await self.seen(gauge, stand, lambda found: found.get(1, 1.0) < 0.5)

    async def test_one_that_does_not_answer_has_no_new_samples(self, gauge: DelayGauge, stand: Stand) -> None:
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        await stand.stop(1)
        before = (await gauge.look(KEY, stand.brokers))[1]
        for _ in range(20):
            await stand.pause()
            after = (await gauge.look(KEY, stand.brokers))[1]
        assert len(after) <= len(before) + 1, "what was answered already may come in late"
        await stand.start(1)
        last = after[-1].at
        for _ in range(LOOKS):
            if (await gauge.look(KEY, stand.brokers))[1][-1].at > last:
                break
            await stand.pause()
        else:
            raise AssertionError("it is back, and was not asked again")

    async def test_samples_are_in_order_and_none_is_of_the_future(self, gauge: DelayGauge, stand: Stand) -> None:
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        for samples in (await gauge.look(KEY, stand.brokers)).values():
            moments = [sample.at for sample in samples]
            assert moments == sorted(moments)
            assert moments[-1] <= stand.now()
            assert all(sample.seconds >= 0 for sample in samples)

    async def test_only_brokers_that_are_named_are_told_of(self, gauge: DelayGauge, stand: Stand) -> None:
        await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        only = {2: stand.brokers[2]}
        assert set(await gauge.look(KEY, only)) == {2}
        assert set(await gauge.look(KEY, {})) == set()

    async def test_what_is_forgotten_begins_anew(self, gauge: DelayGauge, stand: Stand) -> None:
        stand.slow(1, 0.6)
        await self.seen(gauge, stand, lambda found: found.get(1, 0.0) > 0.5)
        await gauge.forget(KEY)
        stand.slow(1, 0.0)
        found = await self.seen(gauge, stand, lambda found: found.keys() == {1, 2})
        assert found[1] < 0.5, "nothing of before counts"
        await gauge.forget("test/never-seen")
