"""Decode files from outside in a child process that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.analysis.decode_error import DecodeError
from service.exchange import ChildDied, at_most, end, exchange


class Decoder:
    """A persistent decoder process; thread-safe (one request at a time).

    seconds: time limit of one request (a header or a frame); the child is killed after it.
    megabytes: address space that the child may use for a file, beyond the interpreter itself.

    A child that has died is replaced. A request on which it dies is tried once more with a fresh
    child, because a child is also lost for reasons outside the file: the kernel delivers the
    parent-death signal when the *thread* that started it ends, and may kill for memory.
    """

    def __init__(self, seconds: float, megabytes: int) -> None:
        self._seconds = seconds
        self._megabytes = megabytes
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = self._start()

    def number_of_frames(self, path: Path) -> int:
        """Parse a DICOM Part 10 file and tell its Number of Frames. Raises DecodeError."""
        answer, _ = self._request(path, 0)
        return int(answer["frames"])

    def frame(self, path: Path, number: int) -> NDArray[np.uint8]:
        """Frame ``number`` (1-based) as ``(H, W, 3)`` uint8 RGB. Raises DecodeError."""
        answer, pixels = self._request(path, number)
        shape = (answer["rows"], answer["columns"], 3)
        return np.frombuffer(pixels, dtype=np.uint8).reshape(shape)

    def close(self) -> None:
        """End the child. A later request would start another."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        """Process id of the child, None after ``close``."""
        return None if self._child is None else self._child.pid

    def _request(self, path: Path, number: int) -> tuple[dict[str, Any], bytearray]:
        line = json.dumps({"path": str(path.resolve()), "frame": number}).encode() + b"\n"
        with self._lock:
            for _ in range(2):
                child = self._child
                if child is None or child.poll() is not None:
                    self._stop()
                    child = self._child = self._start()
                try:
                    answer, pixels = exchange(child, line, at_most(self._seconds))
                except ChildDied:
                    self._stop()
                    continue
                except TimeoutError:
                    self._stop()
                    raise DecodeError(
                        "decode-timeout", "Decoding took longer than allowed."
                    ) from None
                if "error" in answer:
                    raise DecodeError(answer["error"], answer["text"])
                return answer, pixels
        raise DecodeError("decode-crashed", "The decoder crashed on the file.")

    def _start(self) -> subprocess.Popen[bytes]:
        """A new child, in a session of its own so that Ctrl-C lets work in progress end."""
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                *(sys.executable, "-P", "-m", "service.analysis.decode_child"),
                *(str(os.getpid()), str(self._megabytes)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            end(child)
