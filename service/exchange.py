"""A request to a child process over its pipes, and its answer, within a deadline."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import Any


class ChildDied(Exception):
    """The child ended before it answered."""


def exchange(
    child: subprocess.Popen[bytes], line: bytes, deadline: float
) -> tuple[dict[str, Any], bytearray]:
    """Send a request, return the answer, one line of JSON, and its ``bytes`` raw bytes.

    deadline: by ``time.monotonic``. The child's pipes are unbuffered.
    Raises ChildDied, TimeoutError.
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
        received += _read(descriptor, 4096, deadline)
    head, _, rest = received.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    content = bytearray(answer.get("bytes", 0))
    view = memoryview(content)
    view[: len(rest)] = rest
    filled = len(rest)
    while filled < len(content):
        piece = _read(descriptor, len(content) - filled, deadline)
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    return answer, content


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill it, and close its pipes."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _read(descriptor: int, most: int, deadline: float) -> bytes:
    """At least one byte, at most ``most``."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError
    piece = os.read(descriptor, min(most, 1 << 20))
    if not piece:
        raise ChildDied
    return piece
