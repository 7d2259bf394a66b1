"""A request to a child process over its pipes, and its answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import Any

Wait = Callable[[int], None]
"""Waits until a descriptor can be read. Raises TimeoutError if it will wait no longer."""


class ChildDied(Exception):
    """The child ended before it answered."""


def exchange(
    child: subprocess.Popen[bytes], line: bytes, wait: Wait
) -> tuple[dict[str, Any], bytearray]:
    """Send a request, return the answer, one line of JSON, and its ``bytes`` raw bytes.

    The child's pipes are unbuffered. Raises ChildDied, and what ``wait`` raises.
    """
    if child.stdin is None or child.stdout is None:
        raise ChildDied
    try:
        child.stdin.write(line)
    except BrokenPipeError:
        raise ChildDied from None
    descriptor = child.stdout.fileno()
    received = bytearray()
    while b"\n" not in received:
        received += _read(descriptor, 4096, wait)
    head, _, rest = received.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    content = bytearray(answer.get("bytes", 0))
    view = memoryview(content)
    view[: len(rest)] = rest
    filled = len(rest)
    while filled < len(content):
        piece = _read(descriptor, len(content) - filled, wait)
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    return answer, content


def at_most(seconds: float) -> Wait:
    """For the whole answer, from now on."""
    deadline = time.monotonic() + seconds

    def wait(descriptor: int) -> None:
        if not readable(descriptor, deadline - time.monotonic()):
            raise TimeoutError

    return wait


def readable(descriptor: int, seconds: float) -> bool:
    """Whether it can be read, or has ended, within so many seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(seconds, 0) * 1000))


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill it, and close its pipes."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _read(descriptor: int, most: int, wait: Wait) -> bytes:
    """At least one byte, at most ``most``."""
    wait(descriptor)
    piece = os.read(descriptor, min(most, 1 << 20))
    if not piece:
        raise ChildDied
    return piece
