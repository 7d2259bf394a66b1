"""A real worker with a shadow, on a real Redis."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from service.journal.records import ImageState
from service.journal.shadow_records import Said, ShadowState
from service.queue.publisher import Publisher

from .conftest import AnalysisWorker, Site, slow, steeper, tissue


@pytest.fixture
def worker(site: Site, redis_server, free_port: Callable[[], int]) -> Iterator[AnalysisWorker]:
    made = AnalysisWorker(site, redis_server.url, free_port())
    yield made
    made.kill()


@pytest.fixture
def publish(redis_server) -> Iterator[Callable[[str], None]]:
    publisher = Publisher(redis_server.url)
    yield publisher.analysis
    publisher.close()


def state(site: Site, key: str) -> ImageState:
    row = site.journal.image(key)
    assert row is not None
    return row.state


def test_the_shadow_follows_each_result_and_changes_nothing_of_it(
    site: Site, worker: AnalysisWorker, publish, eventually
) -> None:
    site.follow(steeper())
    worker.start()
    first = site.receive(tissue(1))
    publish(first)
    eventually(lambda: state(site, first) is ImageState.ANALYSED, 60)
    before = site.results(first)
    eventually(lambda: site.said(first), 60)
    second = site.receive(tissue(2))
    publish(second)
    eventually(lambda: site.said(second), 60)
    assert site.results(first) == before
    row = site.journal.image(first)
    assert row is not None
    assert (len(row.results), row.attempts, row.deliveries) == (1, 1, ())
    assert worker.end(signal.SIGTERM) == 0
    assert worker.children() == []


def test_a_shadow_that_is_killed_takes_neither_the_worker_nor_an_attempt_with_it(
    site: Site, worker: AnalysisWorker, publish, eventually
) -> None:
    key = in_the_midst(site, worker, publish, eventually)
    another = site.receive(tissue(2))
    publish(another)
    eventually(lambda: state(site, another) is ImageState.ANALYSED)
    assert site.said(key) is None
    (child,) = worker.children()
    os.kill(child, signal.SIGKILL)
    eventually(lambda: site.said(key), 60)
    assert site.said(key) == Said(ShadowState.FAILED, "died")
    assert site.attempts(key) == site.attempts(another) == 1
    assert worker.said("shadow: its process died")
    assert worker.end(signal.SIGTERM) == 0


def test_an_image_at_which_the_whole_worker_dies_keeps_its_result_and_is_not_shadowed_again(
    site: Site, worker: AnalysisWorker, publish, eventually
) -> None:
    key = in_the_midst(site, worker, publish, eventually)
    children = worker.children()
    worker.end(signal.SIGKILL)
    eventually(lambda: not any(is_alive(child) for child in children))
    worker.start()
    another = site.receive(tissue(2))
    publish(another)
    eventually(lambda: site.has_begun(another), 60)
    assert site.said(key) is None
    assert site.attempts(key) == site.attempts(another) == 1
    assert state(site, key) is state(site, another) is ImageState.ANALYSED


def in_the_midst(site: Site, worker: AnalysisWorker, publish, eventually) -> str:
    """The key of an image that a slow shadow of the worker has begun."""
    site.follow(slow())
    worker.start()
    key = site.receive(tissue(1))
    publish(key)
    eventually(lambda: site.has_begun(key), 60)
    return key


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
