"""The embedded broker keeps what it was given, and says where it is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from service.config import ConfigurationError
from service.queue.embedded_broker import embedded_broker_command


def test_a_message_outlives_kill_minus_nine(embedded_broker, publish, queue_length) -> None:
    publish(embedded_broker.url, "key")
    embedded_broker.kill()
    embedded_broker.start()
    assert queue_length(embedded_broker.url) == 1


def test_it_listens_on_loopback_alone(tmp_path: Path) -> None:
    command = embedded_broker_command(tmp_path, 7000)
    assert command[command.index("--bind") + 1] == "127.0.0.1"


def test_where_the_wheel_is_absent_the_operator_hears_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"broker\.url.*SECONDREAD_BROKER__URL"):
        embedded_broker_command(tmp_path, 7000)
