"""A destination that hangs gets one thread; one that is well gets all it wants."""

from __future__ import annotations

from service.delivery.lanes import Lane


class _Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_destination_that_is_well_has_no_limit() -> None:
    watch = _Watch()
    lane = Lane(watch)
    numbers = [lane.enter() for _ in range(8)]
    assert None not in numbers
    watch.now = 1
    lane.leave(numbers[0], stored=False)  # refused at once: it does not hang
    assert lane.enter() is not None


def test_one_that_hangs_gets_one_until_an_attempt_ends_otherwise() -> None:
    watch = _Watch()
    lane = Lane(watch)
    first, second = lane.enter(), lane.enter()
    watch.now = 3
    assert lane.enter() is None
    watch.now = 10
    lane.leave(first, stored=False)
    lane.leave(second, stored=False)
    third = lane.enter()
    assert third is not None
    assert lane.enter() is None
    watch.now = 20
    lane.leave(third, stored=True)
    assert lane.enter() is not None
    assert lane.enter() is not None
