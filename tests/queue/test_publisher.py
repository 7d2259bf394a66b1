"""A broker that is down costs the publisher a second, and never an image."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable

import pytest
import redis

from service.queue.app import make_app
from service.queue.publisher import BrokerUnavailable, Publisher
from service.queue.tasks import DELIVER

KEY = "0123456789abcdef0123456789abcdef"


def test_a_broker_that_is_down_is_reported_at_once(free_port: Callable[[], int]) -> None:
    publisher = Publisher(f"redis://127.0.0.1:{free_port()}/0")
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        publisher.analysis(KEY)
    assert time.monotonic() - started < 1


def test_a_broker_that_hangs_costs_one_caller_a_second_and_the_next_one_nothing(
    redis_server,
) -> None:
    publisher = Publisher(redis_server.url)
    publisher.analysis(KEY)
    redis_server.freeze()
    durations = []
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.analysis(KEY)
        durations.append(time.monotonic() - started)
    assert durations[0] < 3
    assert durations[1] < 0.1


def test_publishing_goes_on_when_the_broker_is_back(redis_server, queue_length) -> None:
    publisher = Publisher(redis_server.url)
    redis_server.kill()
    with pytest.raises(BrokerUnavailable):
        publisher.analysis(KEY)
    redis_server.start()
    time.sleep(1.1)
    publisher.analysis(KEY)
    assert queue_length(redis_server.url) == 1


def test_a_message_carries_keys_and_nothing_else(redis_server) -> None:
    publisher = Publisher(redis_server.url)
    publisher.analysis(KEY)
    publisher.delivery(KEY, "archive")
    with redis.Redis.from_url(redis_server.url) as server:
        messages = {
            queue: json.loads(server.lindex(queue, 0)) for queue in ("analysis", "delivery")
        }
        assert server.llen("analysis") == server.llen("delivery") == 1
    assert json.loads(b64decode(messages["analysis"]["body"]))[:2] == [[KEY], {}]
    assert json.loads(b64decode(messages["delivery"]["body"]))[:2] == [[KEY, "archive"], {}]


def test_a_message_is_as_celery_would_make_it(redis_server) -> None:
    app = make_app(redis_server.url)
    app.send_task(DELIVER, (KEY, "archive"), queue="delivery")
    Publisher(redis_server.url).delivery(KEY, "archive")
    with redis.Redis.from_url(redis_server.url) as server:
        ours, theirs = (json.loads(message) for message in server.lrange("delivery", 0, -1))
    app.close()
    for message in (ours, theirs):
        headers, properties = message["headers"], message["properties"]
        assert headers["id"] == headers["root_id"] == properties["correlation_id"]
        assert len(properties.pop("delivery_tag")) == len(headers.pop("id")) == 36
        for each in ("origin", "root_id"):
            del headers[each]
        for each in ("correlation_id", "reply_to"):
            del properties[each]
    assert json.loads(b64decode(ours.pop("body"))) == json.loads(b64decode(theirs.pop("body")))
    assert ours == theirs


def test_a_broker_that_was_restarted_loses_no_message(redis_server, queue_length) -> None:
    publisher = Publisher(redis_server.url)
    publisher.analysis(KEY)
    redis_server.kill()
    redis_server.start()
    publisher.analysis(KEY)
    assert queue_length(redis_server.url) == 2
