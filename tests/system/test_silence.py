"""A process that is frozen for good is killed and replaced; one that is merely ill is not."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass

import pytest

from service.child import Program
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.silence import Silence

READY_SECONDS = 90


@pytest.fixture(scope="module")
def running(shared_up, small_model, eventually):
    service = shared_up(small_model, extra=("monitoring.silent_seconds = 4",))
    service.start()
    eventually(service.is_ready, READY_SECONDS)
    return service


@pytest.mark.parametrize("name", ["ingest", "delivery", "keeper", "valkey-server"])
def test_a_frozen_process_is_killed_and_replaced(running, eventually, name) -> None:
    before = running.children()
    os.kill(before[name], signal.SIGSTOP)
    eventually(lambda: running.children().get(name, before[name]) != before[name], READY_SECONDS)
    assert not running.alive([before[name]])
    others = before.keys() - {name}
    if name != "valkey-server":
        eventually(lambda: running.works(name), READY_SECONDS)
    assert {each: running.children()[each] for each in others} == {
        each: before[each] for each in others
    }


@dataclass
class Asked:
    """What Silence looks at of a child."""

    program: Program
    pid: int = 1


class Ward:
    """A Silence with a limit of a second that listens to one child."""

    def __init__(self, child: Asked, ask_broker=lambda: True) -> None:
        self.child = child
        self.silence = Silence(1.0, ask_broker)
        self.ended = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self.silence.listen, args=([self], self.ended))
        self.thread.start()

    @property
    def program(self) -> Program:
        return self.child.program

    @property
    def pid(self) -> int:
        """Asked once a round."""
        self.rounds += 1
        return self.child.pid

    def is_too_long(self) -> bool:
        return self.silence.is_too_long(self.child)

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()


@pytest.fixture
def ward():
    wards = []

    def make(*arguments) -> Ward:
        wards.append(Ward(*arguments))
        return wards[-1]

    yield make
    for each in wards:
        each.stop()


@pytest.fixture
def server():
    """Its health hangs as long as ``hangs`` is set, as where the journal's database is frozen."""
    hangs = threading.Event()
    free = threading.Event()
    server = serve(Metrics(), "127.0.0.1", 0, lambda: str(hangs.is_set() and free.wait(30)))
    server.hangs = hangs
    yield server
    free.set()
    server.close()


def program(port: int) -> Program:
    return Program("ingest", ("x",), 1, f"http://127.0.0.1:{port}/healthz")


def test_health_that_hangs_is_no_silence(server, ward, eventually) -> None:
    watched = ward(Asked(program(server.port)))
    eventually(lambda: watched.rounds > 2, 30)
    server.hangs.set()
    eventually(lambda: watched.rounds > 14, 30)
    assert not watched.is_too_long()


def test_who_never_answered_may_still_be_starting(free_port, ward, eventually) -> None:
    watched = ward(Asked(program(free_port())))
    eventually(lambda: watched.rounds > 12, 30)
    assert not watched.is_too_long()


def test_who_answered_once_and_then_no_more_is_silent_until_it_is_another_process(
    server, ward, eventually
) -> None:
    watched = ward(Asked(program(server.port)))
    eventually(lambda: watched.rounds > 2, 30)
    server.close()
    eventually(watched.is_too_long, 30)
    watched.child.pid = 2
    assert not watched.is_too_long()


def test_the_broker_is_asked_in_its_own_language(ward, eventually) -> None:
    answers = [True]
    watched = ward(Asked(Program("broker", ("x",), 1)), lambda: answers[0])
    eventually(lambda: watched.rounds > 2, 30)
    answers[0] = False
    eventually(watched.is_too_long, 30)
