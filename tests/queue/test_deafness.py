"""The watchdog's rule."""

from __future__ import annotations

from service.queue.deafness import Hearing, Sighting


def heard(*sightings: tuple[float, int | None, int, int]) -> float:
    """Seconds of deafness after sightings of (time, queued, started, running)."""
    hearing = Hearing()
    for sighting in sightings:
        hearing = hearing.after(Sighting(*sighting))
    return hearing.deaf_for(sightings[-1][0])


def test_messages_that_wait_while_nothing_arrives_are_deafness() -> None:
    assert heard((0, 1, 0, 0), (5, 1, 0, 0), (10, 2, 0, 0)) == 10


def test_an_idle_worker_is_not_deaf() -> None:
    assert heard((0, 0, 0, 0), (100, 0, 0, 0)) == 0


def test_a_worker_at_work_is_not_deaf() -> None:
    assert heard((0, 5, 1, 1), (100, 5, 1, 1)) == 0


def test_a_worker_that_was_given_something_meanwhile_is_not_deaf() -> None:
    assert heard((0, 1, 0, 0), (5, 1, 7, 0)) == 0


def test_a_broker_that_is_down_is_no_deafness_of_the_worker() -> None:
    assert heard((0, 1, 0, 0), (5, None, 0, 0), (10, None, 0, 0)) == 0


def test_suspicion_starts_anew_after_each_contradiction() -> None:
    assert heard((0, 1, 0, 0), (5, 0, 0, 0), (8, 1, 0, 0), (10, 1, 0, 0)) == 2
