"""When is a worker deaf? A pure rule over what can be seen from outside Celery's event loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """What the watchdog sees at one moment.

    at: seconds of a monotonic clock.
    queued: messages that wait in the broker; None if the broker does not answer.
    started: tasks that this worker has ever been given.
    running: tasks that it works on now.
    """

    at: float
    queued: int | None
    started: int
    running: int


@dataclass(frozen=True)
class Hearing:
    """Since when nothing contradicts deafness; None while something does."""

    suspected_since: float | None = None
    started: int = 0

    def after(self, sighting: Sighting) -> Hearing:
        """Suspect a worker only while messages wait, it works on nothing and is given nothing.

        A busy worker, an empty queue and a broker that is down are no deafness.
        """
        idle = sighting.running == 0 and sighting.started == self.started
        if not (idle and sighting.queued):
            return Hearing(None, sighting.started)
        return Hearing(
            sighting.at if self.suspected_since is None else self.suspected_since, sighting.started
        )

    def deaf_for(self, now: float) -> float:
        """Seconds."""
        return 0.0 if self.suspected_since is None else now - self.suspected_since
