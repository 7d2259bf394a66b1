"""The shadow's child process as its worker sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from service import tether
from service.exchange import ChildDied, end, exchange
from service.journal.shadow_records import Said, ShadowState
from service.sections import AnalysisSettings

_LOAD_SECONDS = 600.0
"""TensorRT takes minutes for its engines."""
IMAGE_SECONDS = 600.0
"""A cine of many frames, beside a worker that leaves little time."""


class ShadowUnusable(Exception):
    """The model cannot be loaded, or did not survive it; the text says what to do."""


class ShadowFailed(Exception):
    """The child could not score the image; the text is a class and a line of code."""


class ShadowScorer:
    """A package in a child process, which one thread starts and uses: the kernel kills the child
    when that thread ends. ``kill`` alone is for other threads.

    settings: of the worker; the child scores one image at a time.
    engine_cache: see ``service.analysis.inference.Scorer``.
    image_seconds: after which an image's score is not waited for any longer.
    Raises ShadowUnusable.
    """

    def __init__(
        self,
        package: Path,
        settings: AnalysisSettings,
        engine_cache: Path,
        image_seconds: float = IMAGE_SECONDS,
    ) -> None:
        self._image_seconds = image_seconds
        self._child = _start()
        changes = {"model": package.resolve(), "batch": 1, "concurrency": 1}
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
        line = json.dumps(request).encode() + b"\n"
        answer, _ = exchange(self._child, line, time.monotonic() + seconds)
        return answer


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
