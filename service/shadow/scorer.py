"""The shadow's child process as its worker sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service import tether
from service.exchange import ChildDied, end, exchange, readable
from service.journal.shadow_records import Said, ShadowState
from service.sections import AnalysisSettings

_LOAD_SECONDS = 600.0
"""TensorRT takes minutes for its engines."""
IMAGE_SECONDS = 600.0
"""A cine of many frames on a slow machine."""
_LOOK_SECONDS, _STILL_SECONDS = 0.05, 0.25
"""Between two questions whether it must wait, while it runs and while it holds still."""


class ShadowUnusable(Exception):
    """The model cannot be loaded, or did not survive it; the text says what to do."""


class ShadowFailed(Exception):
    """The child could not score the image; the text is a class and a line of code."""


class ShadowScorer:
    """A package in a child process, which one thread starts and uses: the kernel kills the child
    when that thread ends. ``kill`` alone is for other threads.

    settings: of the worker; the child scores one image at a time, itself, also where a Triton
        server runs the worker's model.
    engine_cache: see ``service.analysis.inference.Scorer``.
    must_wait: whether the child has to hold still just now; asked again and again while it scores.
    image_seconds: after which an image's score is not waited for any longer; while the child holds
        still they do not pass.
    Raises ShadowUnusable.
    """

    def __init__(
        self,
        package: Path,
        settings: AnalysisSettings,
        engine_cache: Path,
        must_wait: Callable[[], bool] = lambda: False,
        image_seconds: float = IMAGE_SECONDS,
    ) -> None:
        self._must_wait = must_wait
        self._image_seconds = image_seconds
        self._child = _start()
        changes = {"model": package.resolve(), "batch": 1, "concurrency": 1, "triton": None}
        if settings.triton is not None:  # no server gives way, so that it runs here
            changes["require_gpu"] = False
        request = settings.model_copy(update=changes).model_dump(mode="json")
        request["engines"] = str(engine_cache.resolve())
        try:
            answer = self._ask(request, _LOAD_SECONDS)
        except (ChildDied, TimeoutError):
            self.close()
            raise ShadowUnusable("it did not come up: look for a lack of memory") from None
        if "error" in answer:
            self.close()
            raise ShadowUnusable(answer["error"])
        self.provider = str(answer["provider"])

    @property
    def pid(self) -> int:
        return self._child.pid

    def score(self, path: Path) -> Said:
        """What the model says of a DICOM Part 10 file.

        Raises ShadowFailed; ChildDied or TimeoutError, after which it is of no more use.
        """
        answer = self._ask({"path": str(path.resolve())}, self._image_seconds)
        if "error" in answer:
            raise ShadowFailed(answer["error"])
        return Said(**{**answer, "state": ShadowState(answer["state"])})

    def kill(self) -> None:
        """End the child; who waits for a score gets ChildDied."""
        self._child.kill()

    def close(self) -> None:
        end(self._child)

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """seconds: that the child may run for it."""
        left = seconds

        def wait(descriptor: int) -> None:
            nonlocal left
            while not readable(descriptor, _LOOK_SECONDS):
                left -= _LOOK_SECONDS
                if left <= 0:
                    raise TimeoutError
                if self._must_wait():
                    self._hold_still(descriptor)

        answer, _ = exchange(self._child, json.dumps(request).encode() + b"\n", wait)
        return answer

    def _hold_still(self, descriptor: int) -> None:
        """Until it need not, or has answered after all."""
        self._child.send_signal(signal.SIGSTOP)
        try:
            while self._must_wait() and not readable(descriptor, _STILL_SECONDS):
                pass
        finally:
            self._child.send_signal(signal.SIGCONT)


def _start() -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C lets work in progress end."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [
            *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
            *(sys.executable, "-P", "-m", "service.shadow.child"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
