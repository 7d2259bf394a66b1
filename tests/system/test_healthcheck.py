"""What a container's health check says of the real service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

SECONDS = 120


def ask(service) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "service.healthcheck"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SECONDREAD_CONFIG": str(service.config)},
    )
    return done.returncode, done.stdout.strip()


def test_it_sees_what_works_what_hangs_and_what_is_not_there(up, small_model, eventually) -> None:
    service = up(small_model)
    assert ask(service) == (1, "nothing listens")
    service.start()
    eventually(service.is_ready, SECONDS)
    assert ask(service) == (0, "healthy")
    service.signal("keeper", signal.SIGSTOP)
    assert ask(service) == (1, "not healthy: keeper")


def test_one_process_alone_is_enough(up, small_model, eventually) -> None:
    """As in a container of its own."""
    service = up(small_model)
    ingest = subprocess.Popen([*service.command("ingest"), "--config", str(service.config)])
    try:
        eventually(lambda: service.works("ingest"), SECONDS)
        assert ask(service) == (0, "healthy")
    finally:
        ingest.kill()
        ingest.wait(10)
