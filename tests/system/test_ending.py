"""A process that is told to end does so in order, whatever threads libraries have made."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

_WAITING = """
import threading
from service.ending import Ending
threading.Thread(target=threading.Event().wait, daemon=True).start()
ending = Ending()
print("ready", flush=True)
print(ending.wait(0.3), flush=True)
print(ending.wait(), flush=True)
print(ending.wait(30), flush=True)
"""


def _started() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _WAITING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_process_that_was_frozen_goes_on_and_ends_when_it_is_told() -> None:
    process = _started()
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    process.send_signal(signal.SIGCONT)
    assert process.stdout.readline() == "False\n"
    process.terminate()
    assert process.communicate(timeout=10)[0] == "True\nTrue\n"
    assert process.returncode == 0


def test_a_signal_before_the_wait_is_not_forgotten() -> None:
    process = _started()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[0] == "True\n" * 3
    assert process.returncode == 0
