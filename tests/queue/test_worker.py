"""A worker takes messages at once, keeps doing so through every outage, and ends politely."""

from __future__ import annotations

import signal
import time

import pytest

from service.queue.app import make_app
from service.queue.worker import DEAF_EXIT_CODE


@pytest.fixture(params=["redis_server", "embedded_broker"])
def broker(request):
    """Debian's Redis, and the Valkey of the wheel."""
    return request.getfixturevalue(request.param)


def test_a_message_reaches_the_worker_within_a_second(
    broker, start_worker, publish, eventually
) -> None:
    worker = start_worker(broker.url)
    publish(broker.url, "first")
    eventually(lambda: worker.keys("done") == ["first"])
    started = time.monotonic()
    publish(broker.url, "second")
    eventually(lambda: worker.keys("done") == ["first", "second"])
    assert time.monotonic() - started < 1


def test_a_worker_that_loses_the_broker_hears_it_again(
    broker, start_worker, publish, eventually
) -> None:
    worker = start_worker(broker.url, seconds=0.3)
    for number in range(3):
        publish(broker.url, f"before-{number}")
        publish(broker.url, f"after-{number}")
        eventually(lambda key=f"before-{number}": key in worker.keys("started"))
        broker.kill()
        time.sleep(0.5)
        broker.start()
        publish(broker.url, f"late-{number}")
        eventually(lambda key=f"late-{number}": key in worker.keys("done"), 30)
    assert worker.process.poll() is None


def test_a_task_outlives_the_broker_that_gave_it(
    redis_server, start_worker, publish, eventually
) -> None:
    worker = start_worker(redis_server.url, seconds=2)
    publish(redis_server.url, "long")
    eventually(lambda: worker.keys("started") == ["long"])
    redis_server.kill()
    eventually(lambda: worker.keys("done") == ["long"])


def test_sigterm_lets_the_running_task_finish_and_takes_no_other(
    redis_server, start_worker, publish, eventually, queue_length
) -> None:
    worker = start_worker(redis_server.url, seconds=1.5)
    publish(redis_server.url, "running")
    publish(redis_server.url, "waiting")
    eventually(lambda: worker.keys("started") == ["running"])
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(15) == 0
    assert worker.keys("done") == ["running"]
    assert queue_length(redis_server.url) == 1


def test_a_task_that_takes_too_long_to_end_is_abandoned(
    redis_server, start_worker, publish, eventually
) -> None:
    worker = start_worker(redis_server.url, seconds=60)
    publish(redis_server.url, "endless")
    eventually(lambda: worker.keys("started") == ["endless"])
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(20) == 1


def test_sigterm_ends_a_worker_that_waits_for_its_broker(redis_server, start_worker) -> None:
    worker = start_worker(redis_server.url)
    redis_server.kill()
    time.sleep(1)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(15) == 0


def test_a_deaf_worker_ends_so_that_the_supervisor_starts_another(
    redis_server, start_worker, publish
) -> None:
    worker = start_worker(redis_server.url, deaf_seconds=3)
    make_app(redis_server.url).control.cancel_consumer("analysis", reply=True, timeout=2)
    publish(redis_server.url, "unheard")
    assert worker.process.wait(15) == DEAF_EXIT_CODE


def test_a_busy_worker_is_not_deaf(redis_server, start_worker, publish, eventually) -> None:
    worker = start_worker(redis_server.url, seconds=3, deaf_seconds=1.5)
    publish(redis_server.url, "long")
    publish(redis_server.url, "waiting")
    eventually(lambda: worker.keys("done") == ["long", "waiting"])
    assert worker.process.poll() is None
